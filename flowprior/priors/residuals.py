"""Spread of x1 around a learned mean that is the same for all conditions: W z + ψ^½ ε.

The noise is fixed, or estimated on held-out rows; the factor W is the maximum-likelihood one of all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.errors import OptionError
from flowprior.mixtures import FitSettings, LowRank
from flowprior.mixtures.moments import ConditionMoments
from flowprior.ops import Stream, lowrank_log_density, lowrank_posterior_sample, standard_normal
from flowprior.priors.far import Around
from flowprior.priors.frame import Frame
from flowprior.priors.holdout import Holdout, conditioned
from flowprior.streams.batches import Batch, CheckedBatches

PASSES = 10
LEAST_VARIANCE = 1e-6
Means = Callable[[Tensor], Tensor]


def check_sigma(owner: str, sigma: float | str) -> None:
    """Check a standard deviation of :class:`FixedResiduals`.

    Raises:
        OptionError: neither a number above 0 nor a word that says how to estimate one.
    """
    is_number = isinstance(sigma, int | float) and not isinstance(sigma, bool)
    if sigma not in ("scalar", "diagonal") and not (is_number and 0 < float(sigma) < 1e6):
        raise OptionError(f"{owner}: expected sigma > 0, 'scalar' or 'diagonal', got {sigma!r}")


class FixedResiduals(nn.Module):
    """A factor W ``[D, latent]`` and noise variances ψ ``[D]``, one of each for all conditions.

    Args:
        dim: D, numbers in an event.
        sigma: standard deviation of the noise, or ``"scalar"`` or ``"diagonal"`` to estimate it.
        latent: dimensions of z; 0 for none.
    """

    factor: Tensor
    noise: Tensor
    left: Tensor
    total: Tensor

    def __init__(self, dim: int, sigma: float | str, latent: int) -> None:
        super().__init__()
        self.sigma = sigma
        self.register_buffer("factor", torch.zeros(dim, latent))
        self.register_buffer("noise", torch.ones(dim))
        # Variances of the data, ``[D]`` each: what the mean leaves, and of all data together.
        self.register_buffer("left", torch.ones(dim))
        self.register_buffer("total", torch.ones(dim))

    @torch.no_grad()
    def fit(self, data: Holdout, mean: Means, generator: torch.Generator | None) -> None:
        """Learn W and ψ from the residuals x1 − P_θ(c), ``mean`` being P_θ.

        Without a latent, ψ is the mean square of the residuals of :meth:`Holdout.residual_rows`: of rows held
        out, or of all where none are.
        With one, W and ψ are the maximum-likelihood fit to all residuals; a fixed σ stays fixed.
        """
        if self.factor.shape[1]:
            factor, noise = self._fit_factor(data.data, mean, generator)
            self.factor, self.noise = factor.to(self.factor), noise.to(self.noise)
            return
        self.fit_noise(residual for residual, _ in _residuals(data.residual_rows(), mean))

    @torch.no_grad()
    def fit_noise(self, residuals: Iterable[Tensor]) -> None:
        """ψ as the mean square of ``residuals`` ``[B, D]``; a fixed σ stays fixed."""
        held_out = ConditionMoments.over((residual, None) for residual in residuals)
        square = held_out.variance()[0] + held_out.mean[0].square() + LEAST_VARIANCE
        self.left = square.to(self.left)
        if self.sigma != "diagonal":
            square.fill_(float(square.mean()) if self.sigma == "scalar" else float(self.sigma) ** 2)
        self.noise = square.to(self.noise)

    @torch.no_grad()
    def fit_total(self, data: Iterable[Batch]) -> None:
        """The variances of all data x ``[B, D]``, whatever their condition."""
        variance = ConditionMoments.over((x, None) for x, _ in data).variance()[0]
        self.total = (variance + LEAST_VARIANCE).to(self.total)

    def _fit_factor(
        self, data: CheckedBatches, mean: Means, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        fixed = None if isinstance(self.sigma, str) else float(self.sigma) ** 2
        isotropic = self.sigma == "scalar"
        settings = FitSettings(LEAST_VARIANCE, 0.0, generator, isotropic=isotropic, fixed_noise=fixed)
        return fit_factor(data, mean, self.factor.shape[1], settings)

    # -- use: as of LowRankResiduals; of the condition only the width is read -------------------

    def frame(self, around: Around, null: Tensor, center: Tensor) -> Frame | None:
        """Noise and data around the mean, each coordinate on its own; None where there are latents.

        Args:
            around: means and widths.
            null: which rows are the null condition, bool ``[B]``: their data are all data, their source
                samples the marginal ones, and both are around the mean of one condition.
            center: mean of all data, ``[D]``.
        """
        if self.factor.shape[1]:
            return None
        variance, rows = around.width.square(), null[:, None]
        means = (self.total - self.left).clamp_min(0)
        noise = torch.where(rows, self.noise + means, variance * self.noise)
        datum = torch.where(rows, self.total, variance * self.left)
        loc, shared = torch.where(rows, center, around.loc), torch.where(rows, means, 0.0)
        return Frame.without_axes(loc, noise, datum / noise, shared / noise)

    def sample(self, around: Around, seed: Tensor) -> Tensor:
        """x0 ``[B, D]`` around ``loc``, from ``seed``."""
        epsilon, z = self._normal(len(around.loc), seed)
        return self._place(around, z, epsilon)

    def infer(self, x1: Tensor, around: Around, seed: Tensor) -> Tensor:
        """x0 ``[B, D]`` with z ~ p(z | x1) of x1 ``[B, D]``, from ``seed``."""
        loc = around.loc
        epsilon, xi = self._normal(len(loc), seed)
        zero = torch.zeros_like(loc[0])
        residual = (x1.to(loc.dtype) - loc) / around.width
        z = lowrank_posterior_sample(residual, zero, self.factor, self.noise, xi)
        return self._place(around, z, epsilon)

    def log_prob(self, x: Tensor, around: Around) -> Tensor:
        """log p0(x | c) ``[B]`` in nats."""
        width = around.width.to(x.dtype)
        residual = (x - around.loc.to(x.dtype)) / width
        return self._log_density(residual) - residual.shape[1] * width[:, 0].log()

    def squares(self, x: Tensor, around: Around) -> tuple[Tensor, Tensor]:
        """(x − m)ᵀ Σ⁻¹ (x − m) and log det Σ + D log 2π, ``[B]`` each, before the width."""
        at_mean = self._log_density(torch.zeros_like(around.loc[:1]))
        density = self._log_density(x - around.loc)
        return 2 * (at_mean - density), (-2 * at_mean).expand(len(x))

    def scale(self, factor: float) -> None:
        """Multiply the covariance by ``factor``."""
        self.factor, self.noise = self.factor * factor**0.5, self.noise * factor
        self.left = self.left * factor

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Files of before the data's variances were kept have none; nothing that they hold asks for them."""
        for name in ("left", "total"):
            state_dict.setdefault(prefix + name, self.get_buffer(name))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _log_density(self, residual: Tensor) -> Tensor:
        zero = residual.new_zeros(1, residual.shape[1])
        factor, noise = self.factor.to(residual.dtype), self.noise.to(residual.dtype)
        return lowrank_log_density(residual, zero, factor[None], noise[None])[:, 0]

    def _place(self, around: Around, z: Tensor, epsilon: Tensor) -> Tensor:
        return around.loc + around.width * (z @ self.factor.T + self.noise.sqrt() * epsilon)

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
    for x, cond in conditioned(batches):
        yield (x - mean(cond)).cpu(), None
