"""Evaluation of one flow: which values it has, with which sampler, at which number of evaluations."""

from typing import Any

from flowprior.evaluation.result import Result
from flowprior.evaluation.several import joined, sweep_each
from flowprior.evaluation.sweep import evaluate, sweep
from flowprior.metrics.base import MetricInfo

__all__ = [
    "Result",
    "evaluate",
    "joined",
    "sweep",
    "sweep_each",
]


def __getattr__(name: str) -> Any:
    """Old names, and those that moved to ``flowprior.metrics`` and ``flowprior.features``, for a release."""
    import warnings

    from flowprior import features, metrics

    renamed = {"Metric": MetricInfo, "Evaluation": Result, "Sweep": Result}
    if name in renamed:
        message = f"flowprior.evaluation.{name} is called {renamed[name].__name__} now"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return renamed[name]
    for room in (features, metrics):
        if name in room.__all__ or name in getattr(room, "RENAMED", ()):
            message = f"flowprior.evaluation.{name} has moved to {room.__name__}"
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            return getattr(room, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
