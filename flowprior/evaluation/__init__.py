"""Evaluation of one flow: which values it has, with which sampler, at which number of evaluations."""

from flowprior.evaluation.evaluating import evaluate
from flowprior.evaluation.result import Result

__all__ = ["Result", "evaluate"]
