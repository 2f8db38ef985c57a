"""Evaluation of one flow: which values it has, with which sampler, at which number of evaluations."""

from flowprior.evaluation.result import Result
from flowprior.evaluation.sweep import evaluate, sweep

__all__ = ["Result", "evaluate", "sweep"]
