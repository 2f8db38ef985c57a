"""The command that trains what a configuration says."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from typing import Any

from flowprior.training.config import NO_LATENT, RunConfig, TrainingConfig, flatten

PARTS = ("prior", "coupling", "path", "model", "latent")
OPTIONS = ("steps", "seed")
"""Keys of the training that are always said."""
NAMED = ("batch_size", "lr", "prediction", "device")
"""Keys that are options of their own, too; the others are set by ``--set``."""
HOW_IT_RAN = ("max_minutes", "prefetch", "compile")
"""Keys that change nothing of what is trained."""


def train_command(config: RunConfig, data: str | None) -> str | None:
    """``flowprior train …`` with every choice that is not a default, for a shell.

    Args:
        config: resolved; each part as it is named.
        data: what the data set is read by; None for data that have no name.

    Returns:
        None where data or another part were given as an instance that no name leads back to.
    """
    if data is None:
        return None
    parts = {"data": data, **{name: getattr(config, name) for name in PARTS}}
    if any(text.startswith("<") for text in parts.values()):
        return None
    words = ["flowprior", "train"]
    for name, text in parts.items():
        if (name, text) != ("latent", NO_LATENT):
            words += [f"--{name}", text]
    values, usual = asdict(config.training), asdict(TrainingConfig())
    for name in OPTIONS:
        words += [f"--{name}", str(values.pop(name))]
    for key, value in flatten({"training": values}).items():
        name = key.removeprefix("training.")
        if value == usual[name] or name in HOW_IT_RAN:
            continue
        if name in NAMED:
            words += [f"--{name.replace('_', '-')}", str(value)]
        else:
            words += ["--set", f"{key}={_toml(value)}"]
    return shlex.join([*words, "--out", "RUN"])


def _toml(value: Any) -> str:
    """A value as ``--set`` reads it: TOML, where texts may go without quotes."""
    return value if isinstance(value, str) else json.dumps(value)
