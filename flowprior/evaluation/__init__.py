"""Evaluation of one flow: which values it has, with which sampler, at which number of evaluations."""

from typing import Any

from flowprior.evaluation.evaluate import evaluate
from flowprior.evaluation.result import Result
from flowprior.evaluation.sweep import sweep
<<<<<<< HEAD
=======
from flowprior.evaluation.sweep_result import Sweep
>>>>>>> h/metrics
from flowprior.metrics.base import MetricInfo
from flowprior.metrics.setup import Setup

__all__ = [
<<<<<<< HEAD
    "MetricInfo",
    "Result",
=======
    "Evaluation",
    "MetricInfo",
>>>>>>> h/metrics
    "Setup",
    "evaluate",
    "sweep",
]


def __getattr__(name: str) -> Any:
    """Names that moved to :mod:`flowprior.metrics` and :mod:`flowprior.features`, for one release."""
    import warnings

    from flowprior import features, metrics

    if name == "Metric":
        warnings.warn(
            "flowprior.evaluation.Metric is called MetricInfo now", DeprecationWarning, stacklevel=2
        )
        return MetricInfo
    for room in (features, metrics):
        if name in room.__all__ or name in getattr(room, "RENAMED", ()):
            message = f"flowprior.evaluation.{name} has moved to {room.__name__}"
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            return getattr(room, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
