"""The choice of the implementation of the operators, and its reason.

``FLOWPRIOR_OPS`` chooses: ``auto`` (default) takes the native extension where it was built and fits this
torch, and pure torch otherwise; ``native`` makes its absence an error; ``torch`` leaves it aside.
"""

from __future__ import annotations

import json
import logging
import os
import re
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from flowprior.errors import BackendError, OptionError
from flowprior.registry.plugins import package_version

CHOICES = ("auto", "native", "torch")
EXTENSION = "flowprior._C"
MINIMUM_TORCH = (2, 10)  # of the stable ABI that the extension is written against
AGAIN = "install flowprior again"


@dataclass(frozen=True)
class Backend:
    """The implementation that runs, and the reason it was chosen.

    Attributes:
        name: ``"native"`` or ``"torch"``.
        reason: why, in one line.
        devices: types of the devices that the native operators serve; tensors on others go to pure torch.
        instruction_set: of the CPU kernels, ``"baseline"`` or ``"avx2"``; None in pure torch.
        build: the record of the extension's build: versions, compiler, instruction sets, flags.
        asked: whether pure torch is what was asked for, and so no news.
    """

    name: str
    reason: str
    devices: frozenset[str] = frozenset()
    instruction_set: str | None = None
    build: dict[str, Any] = field(default_factory=dict, compare=False)
    asked: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


class _UnfitError(Exception):
    """Why there is no extension to use."""


@cache
def backend() -> Backend:
    """The running backend. The first call loads the extension, once for the process; nothing is compiled.

    Raises:
        OptionError: ``FLOWPRIOR_OPS`` has none of its three values, or ``FLOWPRIOR_CPU_ISA`` an instruction
            set that is not built or does not run on this machine.
        BackendError: it is ``native``, and the extension is missing or does not fit.
    """
    wanted = os.environ.get("FLOWPRIOR_OPS") or "auto"
    if wanted not in CHOICES:
        raise OptionError(f"FLOWPRIOR_OPS: expected one of {', '.join(CHOICES)}, got {wanted!r}")
    if wanted == "torch":
        return Backend("torch", "FLOWPRIOR_OPS=torch", asked=True)
    record = _record()
    try:
        return _native(record)
    except _UnfitError as problem:
        if wanted == "native":
            raise BackendError(
                f"FLOWPRIOR_OPS=native, but {problem}; FLOWPRIOR_OPS=auto runs pure torch"
            ) from None
        return Backend("torch", str(problem), asked=record.get("requested") == "none")


def native_devices() -> frozenset[str]:
    """Types of the devices that the native operators serve: none, ``cpu``, or ``cpu`` and ``cuda``."""
    return backend().devices


@cache
def announce_fallback(device_type: str) -> None:
    """Say once for a device's type that its operators run in pure torch, unless that was asked for.

    Faces call it when an operator first runs; it logs one warning to the logger ``flowprior``.
    """
    running = backend()
    if device_type not in running.devices and not running.asked:
        message = "operators on %s run in pure torch, which is slower: %s; FLOWPRIOR_OPS=torch silences this"
        logging.getLogger("flowprior").warning(message, device_type, running.reason)


def _native(record: dict[str, Any]) -> Backend:
    if not record or find_spec(EXTENSION) is None:
        raise _UnfitError(_absence(record))
    major, minor = re.findall(r"\d+", torch.__version__)[:2]
    if (int(major), int(minor)) < MINIMUM_TORCH:
        needed = ".".join(map(str, MINIMUM_TORCH))
        raise _UnfitError(
            f"{_built_for(record)} and needs {needed} or newer, found torch {torch.__version__}"
        )
    built, running = record.get("flowprior"), package_version()
    if built is not None and running not in (built, "unknown"):
        raise _UnfitError(f"the native extension was built for flowprior {built}, found {running}; {AGAIN}")
    try:
        extension = import_module(EXTENSION)
    except ImportError as error:
        raise _UnfitError(f"{_built_for(record)}, found torch {torch.__version__}: {error}") from error
    try:
        found = extension.capabilities()
    except RuntimeError as error:  # FLOWPRIOR_CPU_ISA names no set that runs here
        raise OptionError(str(error)) from None
    return Backend("native", record["reason"], frozenset(found["devices"]), found["instruction_set"], record)


def _record() -> dict[str, Any]:
    """Return what the build wrote (``csrc/build.py``); nothing where there was none."""
    path = Path(__file__).parent.with_name("_build.json")
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _absence(record: dict[str, Any]) -> str:
    if not record:
        return f"the native extension was not built; {AGAIN}, or run python -m csrc.build in its repository"
    if record["variant"]:
        return f"the native extension was built for another Python; {AGAIN}"
    return f"the native extension was not built: {record['reason']}"


def _built_for(record: dict[str, Any]) -> str:
    cuda = f" and CUDA {record['cuda']}" if record.get("cuda") else ""
    return f"the native extension was built against torch {record.get('torch', '2.10 or newer')}{cuda}"
