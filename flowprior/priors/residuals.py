"""Spread of x1 around a learned mean: the same for all conditions, or one that a network gives.

The same for all conditions it is W z + ψ^½ ε. The noise is fixed, or estimated on held-out rows; the factor W
is the maximum-likelihood one of all rows.

Of a network it is that of each coordinate on its own,

    x0 = m(c) + w (a s(c)² + f)^½ ε.

m is learned by squared error, then log s² by the Gaussian likelihood of what m leaves (Nix & Weigend 1994,
"Estimating the mean and variance of the target probability distribution"). A mean that follows its rows too
closely leaves too little; a factor a corrects the variances on rows that were held out. f is the variance
floor of the source samples alone, of which the linear velocity knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from flowprior.errors import OptionError
from flowprior.mixtures.covariance import FitSettings
from flowprior.mixtures.families import LowRank
from flowprior.mixtures.moments import ConditionMoments
from flowprior.ops.mixture import LOG_2PI, lowrank_log_density, lowrank_posterior_sample
from flowprior.ops.random import normal
from flowprior.priors.far import Around
from flowprior.priors.frame import DiagonalFrame
from flowprior.priors.holdout import Holdout, conditioned
from flowprior.priors.network_training import DensityTraining, MapperNetwork, train_density
from flowprior.streams.batches import Batch, CheckedBatches

LEAST_NOISE = 1e-6
Means = Callable[[Tensor], Tensor]
LEAST_VARIANCE = 1e-4
"""The least variance of data, in squared units of x1: a coordinate that never varies has no likelihood."""
RANGE = 8.0
"""Most that the logarithm of a variance moves away from that of all rows."""


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

    def __init__(self, dim: int, sigma: float | str, latent: int) -> None:
        super().__init__()
        self.sigma = sigma
        self.factor = nn.Buffer(torch.zeros(dim, latent))
        self.noise = nn.Buffer(torch.ones(dim))
        # Variances of the data, ``[D]`` each: what the mean leaves, and of all data together.
        self.left = nn.Buffer(torch.ones(dim))
        self.total = nn.Buffer(torch.ones(dim))

    @torch.no_grad()
    def fit(self, data: Holdout, mean: Means, generator: torch.Generator | None) -> None:
        """Learn W and ψ from the residuals x1 − P_θ(c), ``mean`` being P_θ.

        Without a latent, ψ is the mean square of the residuals of :meth:`Holdout.residual_rows`: of rows held
        out, or of all where none are.
        With one, W and ψ are the maximum-likelihood fit to all residuals; a fixed σ stays fixed.
        """
        if self.factor.shape[1]:
            fixed = None if isinstance(self.sigma, str) else float(self.sigma) ** 2
            isotropic = self.sigma == "scalar"
            settings = FitSettings(LEAST_NOISE, 0.0, generator, isotropic=isotropic, fixed_noise=fixed)
            factor, noise = fit_factor(data.data, mean, self.factor.shape[1], settings)
            self.factor, self.noise = factor.to(self.factor), noise.to(self.noise)
            return
        self.fit_noise(residual for residual, _ in _residuals(data.residual_rows(), mean))

    @torch.no_grad()
    def fit_noise(self, residuals: Iterable[Tensor]) -> None:
        """ψ as the mean square of ``residuals`` ``[B, D]``; a fixed σ stays fixed."""
        held_out = ConditionMoments.over((residual, None) for residual in residuals)
        square = held_out.variance()[0] + held_out.mean[0].square() + LEAST_NOISE
        self.left = square.to(self.left)
        if self.sigma != "diagonal":
            square.fill_(float(square.mean()) if self.sigma == "scalar" else float(self.sigma) ** 2)
        self.noise = square.to(self.noise)

    @torch.no_grad()
    def fit_total(self, data: Iterable[Batch]) -> None:
        """The variances of all data x ``[B, D]``, whatever their condition."""
        variance = ConditionMoments.over((x, None) for x, _ in data).variance()[0]
        self.total = (variance + LEAST_NOISE).to(self.total)

    # -- use: as of LowRankResiduals; of the condition only the width is read -------------------

    def frame(self, around: Around, null: Tensor, center: Tensor) -> DiagonalFrame:
        """Return noise and data around the mean, each coordinate on its own; W has no columns.

        Args:
            around: means and widths.
            null: which rows are the null condition, bool ``[B]``: their data are all data, their source
                samples the marginal ones, and both are around the mean of one condition.
            center: mean of all data, ``[D]``.
        """
        variance, rows = around.width.square(), null[:, None]
        means = (self.total - self.left).clamp_min(0)
        noise = torch.where(rows, self.noise + means, variance * self.noise)
        data = torch.where(rows, self.total, variance * self.left)
        loc, shared = torch.where(rows, center, around.loc), torch.where(rows, means, 0.0)
        return DiagonalFrame(loc, noise, data / noise, shared / noise)

    def sample(self, around: Around, generator: torch.Generator | None) -> Tensor:
        """Draw x0 ``[B, D]`` around ``loc``."""
        return self._place(around, *self._noise_and_latents(len(around.loc), generator))

    def infer(self, x1: Tensor, around: Around, generator: torch.Generator | None) -> Tensor:
        """Draw x0 ``[B, D]`` with z ~ p(z | x1) of x1 ``[B, D]``."""
        loc = around.loc
        epsilon, xi = self._noise_and_latents(len(loc), generator)
        residual = (x1.to(loc.dtype) - loc) / around.width
        z = lowrank_posterior_sample(residual, torch.zeros_like(loc[0]), self.factor, self.noise, xi)
        return self._place(around, epsilon, z)

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

    def _log_density(self, residual: Tensor) -> Tensor:
        zero = residual.new_zeros(1, residual.shape[1])
        factor, noise = self.factor.to(residual.dtype), self.noise.to(residual.dtype)
        return lowrank_log_density(residual, zero, factor[None], noise[None])[:, 0]

    def _noise_and_latents(self, n: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Draw standard normal ε ``[n, D]`` and z ``[n, latent]``."""
        epsilon = normal(n, len(self.noise), like=self.noise, generator=generator)
        return epsilon, normal(n, self.factor.shape[1], like=self.noise, generator=generator)

    def _place(self, around: Around, epsilon: Tensor, z: Tensor) -> Tensor:
        return around.loc + around.width * (z @ self.factor.T + self.noise.sqrt() * epsilon)


@torch.no_grad()
def fit_factor(data: CheckedBatches, mean: Means, rank: int, settings: FitSettings) -> tuple[Tensor, Tensor]:
    """The maximum-likelihood W ``[D, rank]`` and ψ ``[D]`` of all residuals about zero, in float64."""
    moments = ConditionMoments.over(_residuals(iter(data), mean)).about_origin()
    fitter = LowRank(rank).fitter(moments, 1, dtype=data.peek()[0].dtype, settings=settings)
    fitter.fit_single(lambda: ((residual, 0) for residual, _ in _residuals(iter(data), mean)), moments)
    return fitter.covariance["factor"][0, 0], fitter.covariance["noise"][0, 0]


def _residuals(batches: Iterable[Batch], mean: Means) -> Iterable[Batch]:
    for x, cond in conditioned(batches):
        yield (x - mean(cond)).cpu(), None


class DiagonalResiduals(nn.Module):
    """Variances ``[B, D]`` of conditions.

    Args:
        network: from conditions to ``[B, D]``.
        dim: D, numbers in an event.
        floor: f, added to the variances of source samples.
    """

    def __init__(self, network: MapperNetwork, dim: int, floor: float) -> None:
        super().__init__()
        self.network = network
        self.floor = floor
        # Logarithms of the variances that the mean leaves over all rows, ``[D]``; a; and second moments about
        # the mean of all data, ``[D]`` each: what the mean leaves, on average; of all data; of the means; and
        # of means with data.
        self.level = nn.Buffer(torch.zeros(dim))
        self.factor = nn.Buffer(torch.ones(()))
        self.left = nn.Buffer(torch.ones(dim))
        self.total = nn.Buffer(torch.ones(dim))
        self.means = nn.Buffer(torch.zeros(dim))
        self.shared = nn.Buffer(torch.zeros(dim))

    def fit(
        self,
        data: Holdout,
        mapper: MapperNetwork,
        center: Tensor,
        options: DensityTraining,
        generator: torch.Generator | None,
    ) -> None:
        """Learn s from what ``mapper`` leaves of the rows to train on, and a from those held out.

        Args:
            data: rows.
            mapper: fitted; it stays as it is.
            center: mean of all x1, ``[D]``.
            options: of the training.
            generator: of the first weights and of the order of the rows.
        """

        def residual(x: Tensor, cond: Tensor) -> Tensor:
            with torch.no_grad():
                return x - center - mapper(cond)

        def loss(x: Tensor, cond: Tensor, _: torch.Generator | None) -> Tensor:
            variance = self.variance(cond)
            return 0.5 * (residual(x, cond).square() / variance + variance.log()).mean()

        rows = ((residual(x, cond), None) for x, cond in conditioned(data.rows(held_out=False)))
        found = ConditionMoments.over(rows).about_origin().variance()[0]
        self.level = (found + LEAST_VARIANCE).log().to(self.level)
        self.network.requires_grad_(True).initialise(generator)
        train_density(self.network, loss, data, options, generator)
        squares, expected = 0.0, 0.0
        for x, cond in conditioned(data.residual_rows()):
            squares += float(residual(x, cond).square().sum(dtype=torch.float64))
            with torch.no_grad():
                expected += float(self.variance(cond).sum(dtype=torch.float64))
        self.factor = self.factor * (squares / expected)
        self._average(data.data, mapper, center)

    @torch.no_grad()
    def _average(self, data: Iterable[Batch], mapper: MapperNetwork, center: Tensor) -> None:
        """The moments of all data x ``[B, D]`` together, whatever their condition: those of the null one."""
        sums, count = torch.zeros(4, len(center), dtype=torch.float64), 0
        for x, cond in conditioned(data):
            deviation, mean = (x - center).double(), mapper(cond).double()
            parts = self.variance(cond).double(), deviation.square(), mean.square(), mean * deviation
            sums += torch.stack([part.sum(0) for part in parts]).cpu()
            count += len(x)
        left, total, means, shared = (sums / count).to(self.left)
        self.left, self.total, self.means, self.shared = left, total + LEAST_VARIANCE, means, shared

    def variance(self, cond: Tensor) -> Tensor:
        """a s(c)² of the data ``[B, D]``, without the floor."""
        change = RANGE * torch.tanh(self.network(cond) / RANGE)
        return self.factor * ((self.level + change).exp() + LEAST_VARIANCE)

    # -- use: as of FixedResiduals --------------------------------------------------------------

    def frame(self, around: Around, null: Tensor, center: Tensor) -> DiagonalFrame:
        """Noise and data around the mean, each coordinate on its own.

        Args:
            around: means, conditions and widths.
            null: which rows are the null condition, bool ``[B]``: their data are all data, their source
                samples the marginal ones.
            center: mean of all data, ``[D]``.
        """
        rows, squared = null[:, None], around.width.square()
        left = squared * self.variance(around.cond)
        noise = torch.where(rows, self.left + self.floor + self.means, left + squared * self.floor)
        data = torch.where(rows, self.total, left)
        loc, shared = torch.where(rows, center, around.loc), torch.where(rows, self.shared, 0.0)
        return DiagonalFrame(loc, noise, data / noise, shared / noise)

    def sample(self, around: Around, generator: torch.Generator | None) -> Tensor:
        """Draw x0 ``[B, D]`` around ``loc``."""
        epsilon = normal(*around.loc.shape, like=around.loc, generator=generator)
        deviation = (self.variance(around.cond) + self.floor).sqrt()
        return torch.addcmul(around.loc, around.width * deviation, epsilon)

    def infer(self, x1: Tensor, around: Around, generator: torch.Generator | None) -> Tensor:
        """Return the same as :meth:`sample`: there are no latents."""
        return self.sample(around, generator)

    def log_prob(self, x: Tensor, around: Around) -> Tensor:
        """log p0(x | c) ``[B]`` in nats."""
        width = around.width.to(x.dtype)
        squares, log_det = self.squares(x, around)
        return -0.5 * (squares / width[:, 0].square() + log_det) - x.shape[1] * width[:, 0].log()

    def squares(self, x: Tensor, around: Around) -> tuple[Tensor, Tensor]:
        """(x − m)ᵀ Σ⁻¹ (x − m) and log det Σ + D log 2π, ``[B]`` each, before the width."""
        variance = (self.variance(around.cond) + self.floor).to(x.dtype)
        residual = x - around.loc.to(x.dtype)
        return (residual.square() / variance).sum(1), variance.log().sum(1) + x.shape[1] * LOG_2PI

    def scale(self, factor: float) -> None:
        """Multiply the variances, but for the floor, by ``factor``."""
        self.factor, self.left = self.factor * factor, self.left * factor
