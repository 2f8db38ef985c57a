"""Training: configuration, the loop, and what a run leaves on the disk."""

from flowprior.training.callbacks import Callback, TrainingStart, read_metrics
from flowprior.training.checkpoints import list_checkpoints
from flowprior.training.config import (
    DEFAULT_COUPLING,
    DEFAULT_MODEL,
    DEFAULT_PATH,
    DEFAULT_PRIOR,
    RunConfig,
    TrainingConfig,
)
from flowprior.training.config_file import config_from_dict, load_config
from flowprior.training.engine import TrainingInterrupted
from flowprior.training.loss_weights import LossWeight
from flowprior.training.run import RunDirectory
from flowprior.training.times import TimeDistribution
from flowprior.training.trainer import train

__all__ = [
    "DEFAULT_COUPLING",
    "DEFAULT_MODEL",
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
