"""The maximum-likelihood fits of every condition's leading subspace, as tables.

With the low-rank fit μ, W, ψ of a condition, W̃ = ψ^(-1/2) W = Q S Vᵀ (Q ``[D, r]`` orthonormal, S the
singular values) and λ = 1 + S². The tables, and what is done with them, are in
:mod:`flowprior.priors.frame`.

Where latents are as many as the dimensions, a low-rank maximum-likelihood fit has nothing to choose by. A
noise variance for each dimension explains data whose dimensions are uncorrelated by itself; no latent would
depend on them, and no distribution of the latents could be a ring or have heavy tails. So the noise of a full
covariance is the added variance f alone, and the latents hold the whole covariance S beside it, where
examples are enough to know it (a label with few of them is drawn to a low-rank one,
:mod:`flowprior.priors.few_examples`):

    Σ = S + f I = f (I + V (λ − 1) Vᵀ),   λ = 1 + l/f,

with l and V the eigenvalues and eigenvectors of S.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from flowprior.mixtures.covariance import FitSettings, Parameters
from flowprior.mixtures.families import LowRank
from flowprior.mixtures.moments import ConditionMoments
from flowprior.mixtures.samples import in_pieces
from flowprior.priors.checks import explaining_degenerate

SEED = 20250612
NEGLIGIBLE = 1e-6
"""Excess of an eigenvalue over 1, and relative distance of two eigenvalues, that count as none."""
LEAST_FLOOR = 0.01
"""The least f, as a share of the mean variance. With less noise a source sample would be its data sample."""


def lowrank_tables(mean: Tensor, covariance: Parameters, like: Tensor) -> dict[str, Tensor]:
    """Tables of fitted low-rank Gaussians of one component, float64, bases in their principal axes.

    Raises:
        LinAlgError: a noise variance that is 0 in the dtype of ``like``.
    """
    noise, factor = covariance["noise"].squeeze(1), covariance["factor"].squeeze(1)
    if not bool((noise.to(like.dtype) > 0).all()):
        raise torch.linalg.LinAlgError("a dimension has no spread")
    basis, singular, _ = torch.linalg.svd(factor / noise.sqrt()[..., None], full_matrices=False)
    basis, spread = canonical_basis(basis, 1 + singular.square())
    return {"loc": mean.squeeze(1), "noise": noise, "basis": basis, "spread": spread}


def fit_rows(rows: Tensor, rank: int, settings: FitSettings, owner: str) -> dict[str, Tensor]:
    """The tables ``[1, …]`` of the low-rank Gaussian of ``rows`` ``[n, D]``, which are held in memory.

    The subspace iteration starts from directions of its own, not from ``settings``'s generator.
    """
    pieces = [piece for piece, _ in in_pieces([(rows, None)])]
    moments = ConditionMoments.over((piece, None) for piece in pieces)
    settings = replace(settings, generator=torch.Generator().manual_seed(SEED), shrunk=None)
    with explaining_degenerate(owner, settings.reg_covar):
        fitter = LowRank(rank).fitter(moments, 1, dtype=rows.dtype, settings=settings)
        fitter.fit_single(lambda: ((piece, 0) for piece in pieces), moments)
        return lowrank_tables(fitter.mean, fitter.covariance, rows)


def canonical_basis(basis: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Q and λ again, float64, with signs, rotations and directions without spread chosen by convention.

    Singular vectors are known up to their sign, those of equal singular values up to a rotation, and those of
    singular value 0, which a rank beyond the data's has, not at all. A law that is fitted in their
    coordinates afterwards depends on which of them it gets, and so would every draw.

    The convention is nearness to fixed pseudo-random directions G: among the bases of a subspace of equal λ
    the one nearest to G in the Frobenius norm (orthogonal Procrustes problem, Schönemann 1966), which for one
    vector is its sign; and for λ = 1 the part of G outside the other directions.

    Args:
        basis: Q ``[C, D, r]`` with orthonormal columns.
        spread: λ ``[C, r]``, falling, at least 1.
    """
    dim, rank = basis.shape[1:]
    generator = torch.Generator().manual_seed(SEED)
    target = torch.randn(dim, rank, generator=generator, dtype=torch.float64)
    basis, spread = basis.double().clone(), spread.double().clone()
    known_all = (spread > 1 + NEGLIGIBLE).all(1)
    apart = (spread[:, :-1] - spread[:, 1:] > NEGLIGIBLE * spread[:, :-1]).all(1)
    single = known_all & apart  # vectors, of which the nearest is a sign
    signs = torch.where((basis * target).sum(1, keepdim=True) < 0, -1.0, 1.0)
    basis *= torch.where(single[:, None, None], signs, 1.0)
    for i in (~single).nonzero()[:, 0].tolist():
        columns, values = basis[i], spread[i]
        known = int((values > 1 + NEGLIGIBLE).sum())
        for begin, end in _equal_runs(values[:known]):
            columns[:, begin:end] = _nearest(columns[:, begin:end], target[:, begin:end])
            values[begin:end] = values[begin:end].mean()
        columns[:, known:] = _outside(columns[:, :known], target[:, known:])
        values[known:] = 1
    return basis, spread


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


def _equal_runs(values: Tensor) -> list[tuple[int, int]]:
    """Begin and end of every run of falling ``values`` ``[n]`` that are equal but for rounding."""
    if not len(values):
        return []
    apart = (values[:-1] - values[1:]) > NEGLIGIBLE * values[:-1]
    ends = [*(apart.nonzero()[:, 0] + 1).tolist(), len(values)]
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _nearest(columns: Tensor, target: Tensor) -> Tensor:
    """``columns`` ``[D, m]``, turned among themselves to be nearest to ``target`` ``[D, m]``."""
    left, _, right = torch.linalg.svd(columns.T @ target)
    return columns @ (left @ right)


def _outside(known: Tensor, target: Tensor) -> Tensor:
    """Orthonormal columns ``[D, m]`` at right angles to ``known``, from ``target`` ``[D, m]``."""
    for _ in range(2):  # the second time takes away what rounding left of the first
        factors = torch.linalg.qr(target - known @ (known.T @ target))
        target = factors.Q * torch.where(factors.R.diagonal() < 0, -1.0, 1.0)
    return target
