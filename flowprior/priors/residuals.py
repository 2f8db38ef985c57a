"""Spread of x1 around a learned mean that is the same for all conditions: W z + ψ^½ ε.

The noise is fixed, or estimated on held-out rows; the factor W is the maximum-likelihood one of all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from flowprior.data.stream import Batch, CheckedBatches
from flowprior.mixtures import FitSettings, LowRank
from flowprior.mixtures.moments import ConditionMoments
from flowprior.ops import Stream, lowrank_log_density, lowrank_posterior_sample, standard_normal
from flowprior.priors.holdout import Holdout

PASSES = 10
LEAST_VARIANCE = 1e-6
Means = Callable[[Tensor], Tensor]


class FixedResiduals(nn.Module):
    """A factor W ``[D, latent]`` and noise variances ψ ``[D]``, one of each for all conditions.

    Args:
        dim: D, numbers in an event.
        sigma: standard deviation of the noise, or ``"scalar"`` or ``"diagonal"`` to estimate it.
        latent: dimensions of z; 0 for none.
    """

    factor: Tensor
    noise: Tensor

    def __init__(self, dim: int, sigma: float | str, latent: int) -> None:
        super().__init__()
        self.sigma = sigma
        self.register_buffer("factor", torch.zeros(dim, latent))
        self.register_buffer("noise", torch.ones(dim))

    @torch.no_grad()
    def fit(self, data: Holdout, mean: Means, generator: torch.Generator | None) -> None:
        """Learn W and ψ from the residuals x1 − P_θ(c), ``mean`` being P_θ.

        Without a latent, ψ is the held-out residuals' mean square (all residuals' where none are held out).
        With one, W and ψ are the maximum-likelihood fit to all residuals; a fixed σ stays fixed.
        """
        if self.factor.shape[1]:
            factor, noise = self._fit_factor(data.data, mean, generator)
            self.factor, self.noise = factor.to(self.factor), noise.to(self.noise)
            return
        held_out = ConditionMoments.over(_residuals(data.rows(held_out=not data.is_empty), mean))
        square = held_out.variance()[0] + held_out.mean[0].square() + LEAST_VARIANCE
        if self.sigma != "diagonal":
            square.fill_(float(square.mean()) if self.sigma == "scalar" else float(self.sigma) ** 2)
        self.noise = square.to(self.noise)

    def _fit_factor(
        self, data: CheckedBatches, mean: Means, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        fixed = None if isinstance(self.sigma, str) else float(self.sigma) ** 2
        isotropic = self.sigma == "scalar"
        settings = FitSettings(LEAST_VARIANCE, 0.0, generator, isotropic=isotropic, fixed_noise=fixed)
        return fit_factor(data, mean, self.factor.shape[1], settings)

    # -- use: as of LowRankResiduals; the condition changes nothing ----------------------------

    def frame(self, loc: Tensor, cond: Tensor) -> None:
        """There is none: the latents have no axes of their own."""

    def sample(self, loc: Tensor, cond: Tensor, seed: Tensor) -> Tensor:
        """x0 ``[B, D]`` around ``loc``, from ``seed``."""
        epsilon, z = self._normal(len(loc), seed)
        return self._place(loc, z, epsilon)

    def infer(self, x1: Tensor, loc: Tensor, cond: Tensor, seed: Tensor) -> Tensor:
        """x0 ``[B, D]`` with z ~ p(z | x1) of x1 ``[B, D]``, from ``seed``."""
        epsilon, xi = self._normal(len(loc), seed)
        zero = torch.zeros_like(loc[0])
        z = lowrank_posterior_sample(x1.to(loc.dtype) - loc, zero, self.factor, self.noise, xi)
        return self._place(loc, z, epsilon)

    def log_prob(self, x: Tensor, loc: Tensor, cond: Tensor) -> Tensor:
        """log p0(x | c) ``[B]`` in nats."""
        residual = x - loc.to(x.dtype)
        zero = residual.new_zeros(1, residual.shape[1])
        factor, noise = self.factor.to(residual.dtype), self.noise.to(residual.dtype)
        return lowrank_log_density(residual, zero, factor[None], noise[None])[:, 0]

    def _place(self, loc: Tensor, z: Tensor, epsilon: Tensor) -> Tensor:
        return loc + z @ self.factor.T + self.noise.sqrt() * epsilon

    def _normal(self, n: int, seed: Tensor) -> tuple[Tensor, Tensor]:
        """Standard normal ε ``[n, D]`` and z ``[n, latent]``."""
        epsilon = standard_normal(n, len(self.noise), self.noise, seed)
        return epsilon, standard_normal(n, self.factor.shape[1], self.noise, seed, stream=Stream.LATENT)


@torch.no_grad()
def fit_factor(data: CheckedBatches, mean: Means, rank: int, settings: FitSettings) -> tuple[Tensor, Tensor]:
    """The maximum-likelihood W ``[D, rank]`` and ψ ``[D]`` of all residuals about zero, in float64."""
    moments = ConditionMoments.over(_residuals(iter(data), mean)).about_origin()
    fitter = LowRank(rank).fitter(moments, 1, dtype=data.peek()[0].dtype, settings=settings)
    for _ in range(PASSES):
        for residual, _ in _residuals(iter(data), mean):
            fitter.accumulate(residual, 0, residual.new_ones(len(residual), 1))
        fitter.maximise(torch.ones(1, dtype=torch.bool))
    return fitter.covariance["factor"][0, 0], fitter.covariance["noise"][0, 0]


def _residuals(batches: Iterable[Batch], mean: Means) -> Iterable[Batch]:
    for x, cond in batches:
        assert cond is not None
        yield (x - mean(cond)).cpu(), None
