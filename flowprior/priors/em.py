"""Expectation–maximisation of Gaussian mixtures, all conditions in the same passes over the data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from flowprior.covariances import Covariance, FitSettings, Fitter, Parameters
from flowprior.covariances.moments import ConditionMoments
from flowprior.priors.kmeans import kmeans_centres
from flowprior.priors.stream import CheckedBatches

SUBSPACE_PASSES = 10


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
    centres = kmeans_centres(data, conditions, components, dim, dtype, settings.generator)
    active = moments.count > 0
    logits = _assign(data, fitter, centres, active | True)
    previous = torch.full((conditions,), -torch.inf, dtype=torch.float64)
    iterations = torch.zeros(conditions, dtype=torch.long)
    for _ in range(max_iter):
        total = _pass(data, fitter, logits, active)
        bound = total / moments.count.clamp_min(1)
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
        for x, label in _segments(data):
            fitter.accumulate(x, label, torch.ones(len(x), 1, dtype=x.dtype))
        fitter.maximise(everything)
    if not passes:
        fitter.statistics.count[:, 0] = moments.count
        fitter.statistics.second[:, 0] = moments.scatter
        fitter.maximise(everything)
    unknown = torch.full((conditions,), torch.nan, dtype=torch.float64)
    logits = torch.zeros(conditions, 1, dtype=torch.float64)
    return Mixture(logits, fitter.mean, fitter.covariance, unknown, torch.full((conditions,), passes))


def _assign(data: CheckedBatches, fitter: Fitter, centres: Tensor, active: Tensor) -> Tensor:
    """Statistics of a hard assignment to the nearest centre, then the first parameters."""
    for x, label in _segments(data):
        origin = centres[label, :1].to(x.dtype)
        nearest = torch.cdist(x - origin, centres[label].to(x.dtype) - origin).argmin(1)
        fitter.accumulate(x, label, torch.nn.functional.one_hot(nearest, fitter.components).to(x.dtype))
    logits = _log_weights(fitter)
    fitter.maximise(active)
    return logits


def _pass(data: CheckedBatches, fitter: Fitter, logits: Tensor, active: Tensor) -> Tensor:
    """E-step and statistics of the active conditions; their summed log-likelihood ``[C]``."""
    total = torch.zeros(len(active), dtype=torch.float64)
    for x, label in _segments(data):
        if not bool(active[label]):
            continue
        joint = fitter.log_density(x, label).double() + logits[label]
        evidence = joint.logsumexp(1, keepdim=True)
        fitter.accumulate(x, label, (joint - evidence).exp().to(x.dtype))
        total[label] += evidence.sum()
    return total


def _log_weights(fitter: Fitter) -> Tensor:
    """log π ``[C, K]`` from the gathered counts; uniform for a condition without examples."""
    count = fitter.statistics.count
    total = count.sum(1, keepdim=True)
    return torch.where(total > 0, count / total.clamp_min(1e-300), 1 / count.shape[1]).log()


def _segments(data: CheckedBatches) -> Iterator[tuple[Tensor, int]]:
    """Each batch as contiguous rows of one condition after another."""
    for x, cond in data:
        x = x.detach().cpu()
        if cond is None:
            yield x, 0
            continue
        labels, order = cond.cpu().sort(stable=True)
        values, counts = labels.unique_consecutive(return_counts=True)
        rows = x[order].split(counts.tolist())
        yield from zip(rows, values.tolist(), strict=True)
