"""Training: configuration, the loop, and what a run leaves on the disk.

The names below are imported on first use, so that the command line reads the configuration without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowprior.training.callbacks import Callback, TrainingStart, read_metrics
    from flowprior.training.checkpoints import list_checkpoints
    from flowprior.training.config import AUTO, DEFAULT_PATH, DEFAULT_PRIOR, RunConfig, TrainingConfig
    from flowprior.training.config_file import config_from_dict, load_config
    from flowprior.training.interrupts import TrainingInterrupted
    from flowprior.training.objective import LossWeight, TimeDistribution
    from flowprior.training.run import RunDirectory
    from flowprior.training.trainer import train

__all__ = [
    "AUTO",
    "DEFAULT_PATH",
    "DEFAULT_PRIOR",
    "Callback",
    "LossWeight",
    "RunConfig",
    "RunDirectory",
    "TimeDistribution",
    "TrainingConfig",
    "TrainingInterrupted",
    "TrainingStart",
    "config_from_dict",
    "list_checkpoints",
    "load_config",
    "read_metrics",
    "train",
]

_HOMES = {
    "callbacks": ("Callback", "TrainingStart", "read_metrics"),
    "checkpoints": ("list_checkpoints",),
    "config": ("AUTO", "DEFAULT_PATH", "DEFAULT_PRIOR", "RunConfig", "TrainingConfig"),
    "config_file": ("config_from_dict", "load_config"),
    "interrupts": ("TrainingInterrupted",),
    "objective": ("LossWeight", "TimeDistribution"),
    "run": ("RunDirectory",),
    "trainer": ("train",),
}


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'flowprior.training' has no attribute '{name}'")
    value = getattr(import_module(f"flowprior.training.{home}"), name)
    globals()[name] = value
    return value
