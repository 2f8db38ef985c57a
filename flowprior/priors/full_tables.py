"""Tables of Gaussians with full covariance, for latents that are as many as the dimensions.

A low-rank maximum-likelihood fit has then nothing to choose by. A noise variance for each dimension explains
data whose dimensions are uncorrelated by itself; no latent would tell anything of them, and no law of the
latents could be a ring or have heavy tails. So the noise is the variance floor f alone, and the latents hold
the whole covariance S beside it, where examples are enough to know it (a label with few of them is drawn to a
low-rank one, :mod:`flowprior.priors.few_examples`):

    Σ = S + f I = f (I + V (λ − 1) Vᵀ),   λ = 1 + l/f,

with l and V the eigenvalues and eigenvectors of S.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.mixtures import FitSettings
from flowprior.mixtures.moments import ConditionMoments
from flowprior.priors.lowrank_tables import canonical_basis

LEAST_FLOOR = 0.01
"""Of the mean variance: with less noise than that a source sample would be its datum again."""


def full_tables(mean: Tensor, covariance: Tensor, floor: float) -> dict[str, Tensor]:
    """Tables, float64, bases in their principal axes.

    Args:
        mean: ``[C, D]``.
        covariance: S ``[C, D, D]``.
        floor: f at least.

    Raises:
        LinAlgError: a dimension without spread, and no floor.
    """
    variance = covariance.diagonal(dim1=1, dim2=2)
    if not floor and bool((variance <= 0).any()):
        raise torch.linalg.LinAlgError("a dimension has no spread")
    noise = (LEAST_FLOOR * variance.mean(1, keepdim=True)).clamp_min(floor)
    values, vectors = torch.linalg.eigh(covariance)
    spread = 1 + values.flip(1).clamp_min(0) / noise
    basis, spread = canonical_basis(vectors.flip(2), spread)
    return {"loc": mean, "noise": noise.expand_as(mean), "basis": basis, "spread": spread}


def covariances_of(moments: ConditionMoments, settings: FitSettings) -> tuple[Tensor, Tensor]:
    """Means ``[C, D]`` and covariances ``[C, D, D]``; those of all rows where a condition has none.

    Args:
        moments: with full scatter.
        settings: of them ``shrinkage``.
    """
    pooled, count, shrinkage = moments.pooled(), moments.count, settings.shrinkage
    assert pooled.covariance is not None, "full moments are gathered for full covariances"
    weight = torch.where(count > 0, shrinkage / (count + shrinkage).clamp_min(1), 1.0)[:, None]
    apart = moments.mean - pooled.mean
    mean = pooled.mean + (1 - weight) * apart
    own, weight = moments.scatter / count.clamp_min(1)[:, None, None], weight[:, :, None]
    covariance = (1 - weight) * own + weight * pooled.covariance
    covariance += weight * (1 - weight) * apart[:, :, None] * apart[:, None, :]
    return mean, covariance


def full_rows(rows: Tensor, floor: float) -> dict[str, Tensor]:
    """The tables ``[1, …]`` of the Gaussian of ``rows`` ``[n, D]``, which are held in memory.

    Raises:
        LinAlgError: as :func:`full_tables`.
    """
    moments = ConditionMoments.over([(rows, None)], full=True)
    return full_tables(*covariances_of(moments, FitSettings(floor)), floor)
