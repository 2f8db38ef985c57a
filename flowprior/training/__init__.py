"""Training: configuration, the loop, and what a run leaves on the disk.

The names below are imported on first use, so that the command line reads the configuration without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowprior.training.callbacks import Callback, read_metrics
    from flowprior.training.config import RunConfig, TrainingConfig
    from flowprior.training.config_file import load_config
    from flowprior.training.objective import LossWeight, TimeDistribution
    from flowprior.training.run import RunDirectory
    from flowprior.training.trainer import train

__all__ = [
    "Callback",
    "LossWeight",
    "RunConfig",
    "RunDirectory",
    "TimeDistribution",
    "TrainingConfig",
    "load_config",
    "read_metrics",
    "train",
]

_HOMES = {
    "callbacks": ("Callback", "read_metrics"),
    "config": ("RunConfig", "TrainingConfig"),
    "config_file": ("load_config",),
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
