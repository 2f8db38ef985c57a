"""Expectation–maximisation of Gaussian mixtures, all conditions in the same passes over the data.

It starts from k-means++ on a bounded uniform sample of every condition, which makes the memory of the start
independent of the number of examples; EM itself sees them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from flowprior.mixtures.covariance import Covariance, FitSettings, Fitter, Parameters
from flowprior.mixtures.grouped import segments
from flowprior.mixtures.moments import ConditionMoments
from flowprior.mixtures.samples import Reservoirs
from flowprior.streams.batches import CheckedBatches

Segments = Callable[[Tensor], Iterator[tuple[Tensor, int]]]
"""Given the active conditions (bool ``[C]``), their rows ``[n, D]``, one condition at a time."""
LLOYD_ITERATIONS = 10
SAME = 1e-4
"""The largest distance along a random direction at which two rows count as one, in standard deviations."""


@dataclass(frozen=True)
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
        fitter.fit_single(partial(segments, data, len(moments.count)), moments)
        unknown = torch.full_like(moments.count, torch.nan)
        passes = torch.full((len(unknown),), fitter.passes)
        return Mixture(torch.zeros_like(unknown)[:, None], fitter.mean, fitter.covariance, unknown, passes)
    conditions, dim = moments.mean.shape
    sample = Reservoirs.over(data, conditions, dim, dtype, least=components, generator=settings.generator)
    centres = kmeans_centres(sample, components, settings.generator)
    logits = _assign(sample.segments, fitter, centres)
    count, rows_of = moments.count, partial(segments, data, conditions)
    active = count > 0
    previous = torch.full((conditions,), -torch.inf, dtype=torch.float64)
    iterations = torch.zeros(conditions, dtype=torch.long)
    for _ in range(max_iter):
        bound = _pass(rows_of, fitter, logits, active) / count
        logits = torch.where(active[:, None], _log_weights(fitter), logits)
        fitter.maximise(active)
        iterations += active
        gain = (bound - previous).abs()
        previous = torch.where(active, bound, previous)
        active = active & (gain >= tol)
        if not bool(active.any()):
            break
    return Mixture(logits, fitter.mean, fitter.covariance, previous, iterations)


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
    return torch.where(total > 0, count / total, 1 / count.shape[1]).log()


def kmeans_centres(reservoirs: Reservoirs, components: int, generator: torch.Generator | None) -> Tensor:
    """Centres ``[C, K, D]`` by k-means++ (Arthur & Vassilvitskii 2007) and Lloyd's iterations.

    A condition with fewer distinct rows than K repeats some of them.
    """
    rows, filled = reservoirs.rows, reservoirs.filled
    filled[~filled.any(1)] = True
    return _lloyd(rows, filled, _plus_plus(rows, filled, components, generator))


def _plus_plus(rows: Tensor, filled: Tensor, components: int, generator: torch.Generator | None) -> Tensor:
    """Greedy D² seeding: of a few candidates the one that lowers the potential most is taken."""
    conditions, trials = len(rows), 2 + components.bit_length()
    index = torch.arange(conditions)[:, None]
    first = rows[index, torch.multinomial(filled.double(), 1, generator=generator)]
    centres = first.repeat(1, components, 1)
    nearest = _distances(rows, first).squeeze(-1).masked_fill(~filled, 0)
    for k in range(1, components):
        weight = torch.where(nearest.sum(1, keepdim=True) > 0, nearest, filled.to(nearest.dtype))
        chosen = torch.multinomial(weight.double(), trials, replacement=True, generator=generator)
        candidates = rows[index, chosen]
        lowered = torch.minimum(nearest[..., None], _distances(rows, candidates))
        best = lowered.sum(1).argmin(1)
        centres[:, k] = candidates[torch.arange(conditions), best]
        nearest = lowered[torch.arange(conditions), :, best]
    return centres


def _lloyd(rows: Tensor, filled: Tensor, centres: Tensor) -> Tensor:
    """Lloyd's iterations; a centre that owns no row stays where it is."""
    components = centres.shape[1]
    for _ in range(LLOYD_ITERATIONS):
        owner = _distances(rows, centres).argmin(-1)
        membership = torch.nn.functional.one_hot(owner, components).to(rows.dtype) * filled[..., None]
        count = membership.sum(1)[..., None]
        moved = torch.where(count > 0, membership.mT @ rows / count, centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres


def nearest_centre(x: Tensor, centres: Tensor) -> Tensor:
    """Index ``[n]`` of the nearest of the centres ``[K, D]`` for rows x ``[n, D]``."""
    return _distances(x[None], centres[None].to(x.dtype))[0].argmin(1)


def _distances(rows: Tensor, centres: Tensor) -> Tensor:
    """Squared distances ``[C, M, K]`` about the first centre, which keeps the product form accurate."""
    origin = centres[:, :1]
    rows, centres = rows - origin, centres - origin
    cross = rows @ centres.mT
    return (rows.square().sum(-1)[..., None] - 2 * cross + centres.square().sum(-1)[:, None]).clamp_min(0)


def guarded_centres(rows: Tensor, most: int, least: int) -> tuple[Tensor, Tensor]:
    """Return centres ``[K, D]`` of ``rows`` ``[n, D]``, and the place of each row's centre, ``[n]``.

    Each centre is the mean of at least ``least`` different rows, so that no row can be read from it: clusters
    with fewer are joined to their neighbours. Rows that differ by rounding count as one. The same rows have
    the same centres.

    Args:
        rows: are clustered.
        most: the largest K.
        least: different rows behind a centre; of fewer in all there is no centre, and no place.
    """
    group, first = _different(rows)
    own = rows[first]
    if len(own) < least:
        return rows[:0], group[:0]
    filled, generator = torch.ones(1, len(own), dtype=torch.bool), torch.Generator().manual_seed(0)
    started = _plus_plus(own[None], filled, min(most, len(own) // least), generator)
    owner = nearest_centre(own, _lloyd(own[None], filled, started)[0])
    while True:
        owner = owner.unique(return_inverse=True)[1]
        count = torch.bincount(owner)
        centres = own.new_zeros(len(count), own.shape[1]).index_add_(0, owner, own) / count[:, None]
        smallest = int(count.argmin())
        if count[smallest] >= least:
            return centres, owner[group]
        members, others = owner == smallest, torch.arange(len(count)) != smallest
        owner[members] = others.nonzero().flatten()[nearest_centre(own[members], centres[others])]


def _different(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the group of each row ``[n]``, of those that are the same up to rounding, and a row of each."""
    generator = torch.Generator().manual_seed(0)
    along = rows.double() @ torch.randn(rows.shape[1], generator=generator, dtype=torch.float64)
    value, order = along.sort()
    spread = value.std(correction=0) if len(value) else value.sum()
    starts = torch.cat([torch.ones_like(value[:1], dtype=torch.bool), value.diff() > SAME * spread])
    group = torch.empty_like(order)
    group[order] = starts.cumsum(0) - 1
    return group, order[starts]
