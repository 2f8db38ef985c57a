"""Evaluation of one flow: which values it has, with which sampler, at which number of evaluations."""

from flowprior.evaluation.evaluate import evaluate
from flowprior.evaluation.result import Result
from flowprior.evaluation.sweep import sweep
from flowprior.metrics.base import MetricInfo
from flowprior.metrics.setup import Setup

__all__ = [
    "MetricInfo",
    "Result",
    "Setup",
    "evaluate",
    "sweep",
]
