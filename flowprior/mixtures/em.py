"""Expectation–maximisation of Gaussian mixtures, all conditions in the same passes over the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from flowprior.mixtures.covariance import Covariance, FitSettings, Fitter, Parameters
from flowprior.mixtures.grouped import segments
from flowprior.mixtures.kmeans import Reservoirs, kmeans_centres, nearest_centre
from flowprior.mixtures.moments import ConditionMoments
from flowprior.streams.batches import CheckedBatches

SUBSPACE_PASSES = 10

Segments = Callable[[Tensor], Iterator[tuple[Tensor, int]]]
"""Given the active conditions (bool ``[C]``), their rows ``[n, D]``, one condition at a time."""


@dataclass
class Mixture:
    """A fitted mixture for every condition, in float64.

    Attributes:
        logits: log weights ``[C, K]``; -inf for a component without any example.
        mean: ``[C, K, D]``.
        covariance: the family's parameters.
        log_likelihood: mean log-density of each condition's examples at the last pass, ``[C]``, or nan
            where the fit is in closed form.
        iterations: passes each condition took, ``[C]``.
    """

    logits: Tensor
    mean: Tensor
    covariance: Parameters
    log_likelihood: Tensor
    iterations: Tensor


def fit_mixture(
    data: CheckedBatches,
    moments: ConditionMoments,
    family: Covariance,
    components: int,
    *,
    tol: float,
    max_iter: int,
    settings: FitSettings,
) -> Mixture:
    """Maximum likelihood for every condition (Dempster, Laird & Rubin 1977).

    Args:
        data: stream of (x ``[B, D]``, labels).
        moments: of each condition, gathered from the same data.
        family: of the covariances.
        components: K.
        tol: a condition is done when its mean log-likelihood gains less than this.
        max_iter: passes over the data at the most.
        settings: of the M-step.
    """
    dtype = data.peek()[0].dtype
    fitter = family.fitter(moments, components, dtype=dtype, settings=settings)
    if components == 1:
        return _fit_single(data, moments, fitter, family)
    conditions, dim = moments.mean.shape
    sample = Reservoirs.over(data, conditions, dim, dtype, least=components, generator=settings.generator)
    centres = kmeans_centres(sample, components, settings.generator)
    logits = _assign(sample.segments, fitter, centres)
    everything = partial(segments, data, conditions)
    return _iterate(everything, fitter, logits, moments.count, tol, max_iter)


def _iterate(
    rows_of: Segments,
    fitter: Fitter,
    logits: Tensor,
    count: Tensor,
    tol: float,
    max_iter: int,
) -> Mixture:
    """EM passes from the fitter's parameters until every condition has converged."""
    active = count > 0
    previous = torch.full((len(count),), -torch.inf, dtype=torch.float64)
    iterations = torch.zeros(len(count), dtype=torch.long)
    for _ in range(max_iter):
        bound = _pass(rows_of, fitter, logits, active) / count.clamp_min(1)
        logits = torch.where(active[:, None], _log_weights(fitter), logits)
        fitter.maximise(active)
        iterations += active
        gain = (bound - previous).abs()
        previous = torch.where(active, bound, previous)
        active = active & (gain >= tol)
        if not bool(active.any()):
            break
    return Mixture(logits, fitter.mean, fitter.covariance, previous, iterations)


def _fit_single(
    data: CheckedBatches, moments: ConditionMoments, fitter: Fitter, family: Covariance
) -> Mixture:
    """One component: moments give it in closed form, but a low-rank factor takes subspace iterations."""
    conditions = len(moments.count)
    everything = torch.ones(conditions, dtype=torch.bool)
    passes = SUBSPACE_PASSES if family.rank else 0
    for _ in range(passes):
        for x, label in segments(data, conditions):
            fitter.accumulate(fitter.prepare(x, label), label, torch.ones(len(x), 1, dtype=x.dtype))
        fitter.maximise(everything)
    if not passes:
        fitter.statistics.count[:, 0] = moments.count
        fitter.statistics.second[:, 0] = moments.scatter
        fitter.maximise(everything)
    unknown = torch.full((conditions,), torch.nan, dtype=torch.float64)
    logits = torch.zeros(conditions, 1, dtype=torch.float64)
    return Mixture(logits, fitter.mean, fitter.covariance, unknown, torch.full((conditions,), passes))


def _assign(rows_of: Segments, fitter: Fitter, centres: Tensor) -> Tensor:
    """First parameters, from a hard assignment to the nearest centre; the log weights ``[C, K]``."""
    everything = torch.ones(len(centres), dtype=torch.bool)
    for x, label in rows_of(everything):
        nearest = nearest_centre(x, centres[label])
        membership = torch.nn.functional.one_hot(nearest, fitter.components).to(x.dtype)
        fitter.accumulate(fitter.prepare(x, label), label, membership)
    logits = _log_weights(fitter)
    fitter.maximise(everything)
    return logits


def _pass(rows_of: Segments, fitter: Fitter, logits: Tensor, active: Tensor) -> Tensor:
    """E-step and statistics of the active conditions; their summed log-likelihood ``[C]``."""
    total = torch.zeros(len(active), dtype=torch.float64)
    for x, label in rows_of(active):
        rows = fitter.prepare(x, label)
        joint = fitter.log_density(rows, label) + logits[label]
        evidence = joint.logsumexp(1, keepdim=True)
        fitter.accumulate(rows, label, (joint - evidence).exp())
        total[label] += evidence.sum()
    return total


def _log_weights(fitter: Fitter) -> Tensor:
    """log π ``[C, K]`` from the gathered counts; uniform for a condition without examples."""
    count = fitter.statistics.count
    total = count.sum(1, keepdim=True)
    return torch.where(total > 0, count / total.clamp_min(1e-300), 1 / count.shape[1]).log()
