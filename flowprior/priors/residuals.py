"""Residuals of a mean: x0 = m(c) + ψ^½ ε.

The same for all conditions (:func:`constant_residuals`) are a noise ψ ``[D]``, which is a number or the mean
square of what the mean leaves of held-out rows; a low-rank covariance; and one with structure along the axes
of an event. Or a network gives ψ from the condition,

    ψ(c) = a s(c)² + f.

m is learned by squared error, then log s² by the Gaussian likelihood of what m leaves (Nix & Weigend 1994,
"Estimating the mean and variance of the target probability distribution"). A mean that follows its rows too
closely leaves too little; a factor a corrects the variances on rows that were held out. f is added to the
variances of source samples alone, and the linear velocity takes it away.

A low-rank covariance that depends on the condition is in :mod:`flowprior.priors.lowrank_residuals`. All have
``fit``, ``sample`` and ``log_prob``; ``frame``, but for kernels; and those of low rank ``infer``.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from flowprior.errors import OptionError
from flowprior.mixtures.covariance import FitSettings
from flowprior.mixtures.moments import ConditionMoments
from flowprior.mixtures.samples import thinned
from flowprior.ops.mixture import LOG_2PI
from flowprior.ops.operators import normal
from flowprior.priors.frame import DiagonalFrame, Frame, Subspace
from flowprior.priors.holdout import Holdout, conditioned
from flowprior.priors.kernels import KernelNoise, are_kernels, parse_kernels, rows_to_read
from flowprior.priors.mean_prior import Around
from flowprior.priors.network_training import MapperNetwork, NetworkTraining, train_network
from flowprior.priors.subspace import fit_rows
from flowprior.streams.batches import Batch, CheckedBatches

Left = Callable[[Iterable[Batch]], Iterable[Tensor]]
"""A function that takes batches (x ``[B, D]``, condition) and gives what a mean leaves, ``[B, D]``."""
Rows = Callable[[], Iterable[Batch]]
"""A function that returns batches, the same at every call."""

LEAST_NOISE = 1e-6
"""The variance that is added to every estimated one, in squared units of x1."""
LEAST_VARIANCE = 1e-4
"""The least variance of data, in squared units of x1: a coordinate that never varies has no likelihood."""
LEAST_SIGMA = 1e-6
"""The least standard deviation that may be given, in units of x1."""
LOWRANK = "lowrank"
SIGMAS = "scalar", "diagonal", LOWRANK
"""The words for how residuals that are the same for all conditions are estimated, beside kernels."""
RANK, SOURCE_NOISE = 64, 1e-4
"""The rank of a low-rank covariance, and what is added to it, where no option says so."""
ROWS, NUMBERS = 2048, 1 << 24
"""The largest number of rows, and of numbers in them, that a low-rank covariance is fitted to."""
RANGE = 8.0
"""The largest change of the logarithm of a variance from that of all rows."""


def check_sigma(owner: str, sigma: float | str) -> None:
    """Check a standard deviation, or the word that says how to estimate the residuals.

    Raises:
        OptionError: neither a number above 0 nor one of ``SIGMAS``, or kernels that are not possible.
    """
    if are_kernels(sigma):
        parse_kernels(owner, str(sigma))
        return
    is_number = isinstance(sigma, int | float) and not isinstance(sigma, bool)
    if sigma not in SIGMAS and not (is_number and LEAST_SIGMA <= float(sigma) < 1e6):
        known = f"{LEAST_SIGMA:g} or more, {', '.join(map(repr, SIGMAS))}"
        raise OptionError(f"{owner}: expected sigma {known}, or kernels such as 'ou-white', got {sigma!r}")


class Residuals(nn.Module, abc.ABC):
    """Base class: the use of noise whose coordinates are independent.

    Args:
        dim: D, numbers in an event.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        # Variances of the data, ``[D]`` each: what the mean leaves on average, and of all data together.
        self.left = nn.Buffer(torch.ones(dim))
        self.total = nn.Buffer(torch.ones(dim))

    @abc.abstractmethod
    def near(self, cond: Tensor) -> tuple[Tensor, Tensor]:
        """Return the variances of source samples and of data, ``[B, D]`` or ``[D]``, before the width."""

    def variances(self, around: Around) -> tuple[Tensor, Tensor]:
        """Return the variances of source samples and of data around the mean, ``[B, D]`` each."""
        squared, (noise, data) = around.width.square(), self.near(around.cond)
        return squared * noise, squared * data

    @property
    @abc.abstractmethod
    def average(self) -> Tensor:
        """The variances of source samples around their means, averaged over conditions, ``[D]``."""

    def _learn_total(self, data: Iterable[Batch]) -> None:
        variance = ConditionMoments.over((x, None) for x, _ in data).variance()[0]
        self.total = (variance + LEAST_NOISE).to(self.total)

    def frame(self, around: Around, null: Tensor, center: Tensor) -> DiagonalFrame:
        """Return noise and data around the mean.

        Args:
            around: means, conditions and widths.
            null: which rows are the null condition, bool ``[B]``: their data are all data, their source
                samples the marginal ones.
            center: mean of all data, ``[D]``.
        """
        rows, (noise, data) = null[:, None], self.variances(around)
        means = (self.total - self.left).clamp_min(0)  # the variances of the means of conditions
        noise = torch.where(rows, self.average + means, noise)
        data = torch.where(rows, self.total, data)
        loc, shared = torch.where(rows, center, around.loc), torch.where(rows, means, 0.0)
        return DiagonalFrame(loc, noise, data / noise, shared / noise)

    def sample(self, around: Around, generator: torch.Generator | None) -> Tensor:
        """Draw x0 ``[B, D]`` around ``loc``."""
        epsilon = normal(*around.loc.shape, like=around.loc, generator=generator)
        return torch.addcmul(around.loc, self.variances(around)[0].sqrt(), epsilon)

    def log_prob(self, x: Tensor, around: Around) -> Tensor:
        """Return log p0(x | c) ``[B]`` in nats."""
        noise = self.variances(around)[0].to(x.dtype)
        return -0.5 * ((x - around.loc.to(x.dtype)).square() / noise + noise.log() + LOG_2PI).sum(1)


class ConstantResiduals(nn.Module, abc.ABC):
    """Base class of residuals that are the same for all conditions, but wider by w² far from the fit."""

    def fit(
        self,
        data: Holdout,
        mapper: MapperNetwork,
        center: Tensor,
        options: NetworkTraining,
        generator: torch.Generator | None,
    ) -> None:
        """Learn from what ``mapper`` leaves of :meth:`Holdout.residual_rows`."""

        def left(rows: Iterable[Batch]) -> Iterator[Tensor]:
            return (x - (mapper(cond) + center) for x, cond in conditioned(rows))

        self.learn(left, data.residual_rows, data.data)

    @abc.abstractmethod
    def learn(self, left: Left, rows: Rows, data: CheckedBatches) -> None:
        """Learn the covariance of what the mean leaves.

        Args:
            left: gives the residuals of batches.
            rows: the batches to learn from.
            data: all data, for the pairs of the null condition.
        """


class FixedResiduals(Residuals, ConstantResiduals):
    """Noise variances ψ ``[D]`` of coordinates that are independent.

    Args:
        dim: D, numbers in an event.
        sigma: standard deviation of the noise, or ``"scalar"`` or ``"diagonal"`` to estimate it.
    """

    def __init__(self, dim: int, sigma: float | str) -> None:
        super().__init__(dim)
        self.sigma = sigma
        self.noise = nn.Buffer(torch.ones(dim))

    @torch.no_grad()
    def learn(self, left: Left, rows: Rows, data: CheckedBatches) -> None:
        moments = ConditionMoments.over((residual, None) for residual in left(rows()))
        square = moments.variance()[0] + moments.mean[0].square() + LEAST_NOISE
        self.left = square.to(self.left)
        if self.sigma != "diagonal":
            square.fill_(float(square.mean()) if self.sigma == "scalar" else float(self.sigma) ** 2)
        self.noise = square.to(self.noise)
        self._learn_total(data)

    def near(self, cond: Tensor) -> tuple[Tensor, Tensor]:
        return self.noise, self.left

    @property
    def average(self) -> Tensor:
        return self.noise


class KernelResiduals(ConstantResiduals):
    """Residuals with structure along the axes of an event: a covariance of :mod:`flowprior.priors.kernels`.

    Args:
        owner: the prior, for messages.
        kernels: one an axis.
    """

    def __init__(self, owner: str, kernels: str) -> None:
        super().__init__()
        self.covariance = KernelNoise(owner, kernels)

    @torch.no_grad()
    def learn(self, left: Left, rows: Rows, data: CheckedBatches) -> None:
        event = data.peek()[0].shape[1:]
        some = thinned(rows, rows_to_read(event.numel()))
        self.covariance.learn(torch.cat([*left(some)]).view(-1, *event))

    @property
    def noise(self) -> Tensor:
        """The variances of source samples around their means, ``[D]``."""
        return self.covariance.root.variances().flatten()

    def sample(self, around: Around, generator: torch.Generator | None) -> Tensor:
        """Draw x0 ``[B, D]`` around ``loc``."""
        drawn = self.covariance.root.draw(len(around.loc), around.loc, generator).flatten(1)
        return torch.addcmul(around.loc, around.width, drawn)

    def log_prob(self, x: Tensor, around: Around) -> Tensor:
        """Return log p0(x | c) ``[B]`` in nats."""
        unit = ((x - around.loc) / around.width).double().view(-1, *self.covariance.sizes.tolist())
        return self.covariance.root.log_prob(unit).to(x) - x.shape[1] * around.width[:, 0].log()


class LowRankFixedResiduals(ConstantResiduals):
    """A low-rank covariance of residuals with standard normal latents.

    The second of two subspaces is that of all data, which pairs of the null condition have.

    Args:
        rank: of the covariance, cut to the number of dimensions.
        floor: added to the variances of source samples.
    """

    def __init__(self, rank: int, floor: float) -> None:
        super().__init__()
        self.subspace, self.rank = Subspace(), rank
        self.floor = nn.Buffer(torch.tensor(floor))

    @torch.no_grad()
    def learn(self, left: Left, rows: Rows, data: CheckedBatches) -> None:
        like = data.peek()[0]
        dim, settings = like[0].numel(), FitSettings(float(self.floor))
        most = max(1, min(ROWS, NUMBERS // dim))
        parts = left(thinned(rows, most)), (x for x, _ in thinned(lambda: data, most))
        tables = [
            fit_rows(torch.cat([x.to(like) for x in part]), min(self.rank, dim), settings, data.owner)
            for part in parts
        ]
        joined = {name: torch.cat([own[name] for own in tables]) for name in tables[0]}
        self.subspace = Subspace.of(like, **joined)

    @property
    def noise(self) -> Tensor:
        """The variances of source samples around their means, ``[D]``."""
        noise, basis, spread = (getattr(self.subspace, name)[0] for name in ("noise", "basis", "spread"))
        return noise * (1 + basis.square() @ (spread - 1))

    def frame(self, around: Around, null: Tensor, center: Tensor) -> Frame:
        """Return the linear part; the rows ``null``, bool ``[B]``, have the moments of all data."""
        frame, rows = self.subspace.frame(null.long(), float(self.floor)), null[:, None]
        loc, width = torch.where(rows, center, around.loc), torch.where(rows, 1.0, around.width)
        return replace(frame, loc=loc, noise=frame.noise * width.square())

    def _frame(self, around: Around) -> Frame:
        loc = around.loc
        return self.frame(around, torch.zeros(len(loc), dtype=torch.bool, device=loc.device), loc)

    def sample(self, around: Around, generator: torch.Generator | None) -> Tensor:
        """Draw x0 ``[B, D]`` around ``loc``."""
        frame = self._frame(around)
        epsilon, h = frame.draw_noise(generator)
        return frame.place(h, epsilon)

    def infer(self, x1: Tensor, around: Around, generator: torch.Generator | None) -> Tensor:
        """Draw x0 ``[B, D]`` with latents inferred from x1 ``[B, D]``."""
        frame = self._frame(around)
        epsilon, latent = frame.draw_noise(generator)
        return frame.source(x1, latent, epsilon)

    def log_prob(self, x: Tensor, around: Around) -> Tensor:
        """Return log p0(x | c) ``[B]`` in nats."""
        h, density = self._frame(around).log_density_around(x)
        return density - 0.5 * (h.square() + LOG_2PI).sum(1)


def constant_residuals(
    owner: str, sigma: float | str, dim: int, rank: int = RANK, floor: float = SOURCE_NOISE
) -> ConstantResiduals:
    """Return residuals that are the same for all conditions, to be learned.

    Args:
        owner: the prior, for messages.
        sigma: as :func:`check_sigma` takes it.
        dim: D, numbers in an event; 0 if that is not known yet.
        rank: of a low-rank covariance.
        floor: added to the variances of source samples of a low-rank covariance.
    """
    if sigma == LOWRANK:
        return LowRankFixedResiduals(rank, floor)
    return KernelResiduals(owner, str(sigma)) if are_kernels(sigma) else FixedResiduals(dim, sigma)


class DiagonalResiduals(Residuals):
    """Variances ``[B, D]`` that a network gives from the condition.

    Args:
        network: from conditions to ``[B, D]``.
        dim: D, numbers in an event.
        floor: f, added to the variances of source samples.
    """

    def __init__(self, network: MapperNetwork, dim: int, floor: float) -> None:
        super().__init__(dim)
        self.network = network
        self.floor = floor
        # Logarithms of the variances that the mean leaves over all rows, ``[D]``; and a.
        self.level = nn.Buffer(torch.zeros(dim))
        self.factor = nn.Buffer(torch.ones(()))

    def fit(
        self,
        data: Holdout,
        mapper: MapperNetwork,
        center: Tensor,
        options: NetworkTraining,
        generator: torch.Generator | None,
    ) -> None:
        """Learn s from what ``mapper`` leaves of the rows to train on, and a from those held out.

        Args:
            data: rows.
            mapper: fitted, of the same layers as the network; it stays as it is.
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
        self.network.load_state_dict(mapper.state_dict())  # for the units that a linear one reads in
        self.network.initialise(generator)
        train_network(self.network, loss, data, options, generator)
        self._learn_moments(data, mapper, center)

    @torch.no_grad()
    def _learn_moments(self, data: Holdout, mapper: MapperNetwork, center: Tensor) -> None:
        """Learn a, and the variances of all data together."""
        squares, expected = 0.0, 0.0
        for x, cond in conditioned(data.residual_rows()):
            squares += float((x - center - mapper(cond)).square().sum(dtype=torch.float64))
            expected += float(self.variance(cond).sum(dtype=torch.float64))
        self.factor = self.factor * (squares / expected)
        variances = ((self.variance(cond), None) for _, cond in conditioned(data.data))
        self.left = ConditionMoments.over(variances).mean[0].to(self.left)
        self._learn_total(data.data)

    def variance(self, cond: Tensor) -> Tensor:
        """Return a s(c)² of the data ``[B, D]``, without f."""
        change = RANGE * torch.tanh(self.network(cond) / RANGE)
        return self.factor * ((self.level + change).exp() + LEAST_VARIANCE)

    def near(self, cond: Tensor) -> tuple[Tensor, Tensor]:
        data = self.variance(cond)
        return data + self.floor, data

    @property
    def average(self) -> Tensor:
        return self.left + self.floor
