"""Evaluation of one flow: which values it has, with which sampler, at which number of evaluations."""

from flowprior.evaluation.evaluate import evaluate
from flowprior.evaluation.result import Evaluation
from flowprior.evaluation.sweep import sweep
from flowprior.evaluation.sweep_result import Sweep
from flowprior.metrics.description import Metric
from flowprior.metrics.setup import Setup

__all__ = [
    "Evaluation",
    "Metric",
    "Setup",
    "Sweep",
    "evaluate",
    "sweep",
]
