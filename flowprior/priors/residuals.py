"""Spread of x1 around a learned mean: fixed, or estimated on held-out rows, with an optional factor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flowprior.data.stream import CheckedBatches
from flowprior.mixtures import FitSettings, LowRank
from flowprior.mixtures.moments import ConditionMoments
from flowprior.priors.holdout import Holdout

PASSES = 10
LEAST_VARIANCE = 1e-6


@torch.no_grad()
def fit_residuals(
    data: Holdout,
    mean: Callable[[Tensor], Tensor],
    sigma: float | str,
    latent: int,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """Factor W ``[D, latent]`` and noise variances ψ ``[D]`` of the residuals x1 − P_θ(c), in float64.

    Without a latent, ψ is the held-out residuals' mean square (all residuals' where none are held
    out). With one, W and ψ are the maximum-likelihood fit to all residuals; a fixed σ stays fixed.
    """
    held_out = ConditionMoments.over(_residuals(data.rows(held_out=not data.is_empty), mean))
    square = held_out.variance()[0] + held_out.mean[0].square() + LEAST_VARIANCE
    noise = _noise(sigma, square)
    if not latent:
        return square.new_zeros(len(square), 0), noise
    return _fit_factor(data.data, mean, sigma, latent, generator)


def _noise(sigma: float | str, square: Tensor) -> Tensor:
    if sigma == "diagonal":
        return square
    return torch.full_like(square, float(square.mean()) if sigma == "scalar" else float(sigma) ** 2)


def _fit_factor(
    data: CheckedBatches,
    mean: Callable[[Tensor], Tensor],
    sigma: float | str,
    latent: int,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    fixed = None if isinstance(sigma, str) else float(sigma) ** 2
    isotropic = sigma == "scalar"
    settings = FitSettings(LEAST_VARIANCE, 0.0, generator, isotropic=isotropic, fixed_noise=fixed)
    return fit_factor(data, mean, latent, settings)


@torch.no_grad()
def fit_factor(
    data: CheckedBatches, mean: Callable[[Tensor], Tensor], rank: int, settings: FitSettings
) -> tuple[Tensor, Tensor]:
    """The maximum-likelihood W ``[D, rank]`` and ψ ``[D]`` of all residuals about zero, in float64."""
    moments = ConditionMoments.over(_residuals(iter(data), mean)).about_origin()
    fitter = LowRank(rank).fitter(moments, 1, dtype=data.peek()[0].dtype, settings=settings)
    for _ in range(PASSES):
        for residual, _ in _residuals(iter(data), mean):
            fitter.accumulate(residual, 0, residual.new_ones(len(residual), 1))
        fitter.maximise(torch.ones(1, dtype=torch.bool))
    return fitter.covariance["factor"][0, 0], fitter.covariance["noise"][0, 0]


def _residuals(batches, mean: Callable[[Tensor], Tensor]):
    for x, cond in batches:
        assert cond is not None
        yield (x - mean(cond)).cpu(), None
