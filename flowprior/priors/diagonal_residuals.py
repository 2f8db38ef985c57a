"""Spread of x1 around a learned mean that a network gives from the condition, each coordinate on its own.

    x0 = m(c) + w (a s(c)² + f)^½ ε

m is learned by squared error, then log s² by the Gaussian likelihood of what m leaves (Nix & Weigend 1994,
"Estimating the mean and variance of the target probability distribution"). A mean that follows its rows too
closely leaves too little; a factor a corrects the variances on rows that were held out. f is the variance
floor of the source samples alone, of which the linear velocity knows.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from flowprior.mixtures.moments import ConditionMoments
from flowprior.ops import standard_normal
from flowprior.ops.mixture import LOG_2PI
from flowprior.priors.density_training import DensityTraining, train_density
from flowprior.priors.far import Around
from flowprior.priors.frame import Frame
from flowprior.priors.holdout import Holdout, conditioned
from flowprior.priors.mapper_training import MapperNetwork
from flowprior.streams.batches import Batch

LEAST_VARIANCE = 1e-4
"""Of data, in squared units of x1: a coordinate that never varies has no likelihood."""
RANGE = 8.0
"""Most that the logarithm of a variance moves away from that of all rows."""


class DiagonalResiduals(nn.Module):
    """Variances ``[B, D]`` of conditions.

    Args:
        network: from conditions to ``[B, D]``.
        dim: D, numbers in an event.
        floor: f, added to the variances of source samples.
    """

    level: Tensor
    factor: Tensor
    left: Tensor
    total: Tensor
    means: Tensor
    shared: Tensor

    def __init__(self, network: MapperNetwork, dim: int, floor: float) -> None:
        super().__init__()
        self.network = network
        self.floor = floor
        # Logarithms of the variances that the mean leaves over all rows, ``[D]``; a; and second moments about
        # the mean of all data, ``[D]`` each: what the mean leaves, on average; of all data; of the means; and
        # of means with data.
        self.register_buffer("level", torch.zeros(dim))
        self.register_buffer("factor", torch.ones(()))
        self.register_buffer("left", torch.ones(dim))
        self.register_buffer("total", torch.ones(dim))
        self.register_buffer("means", torch.zeros(dim))
        self.register_buffer("shared", torch.zeros(dim))

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

    def frame(self, around: Around, null: Tensor, center: Tensor) -> Frame:
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
        datum = torch.where(rows, self.total, left)
        loc, shared = torch.where(rows, center, around.loc), torch.where(rows, self.shared, 0.0)
        return Frame.without_axes(loc, noise, datum / noise, shared / noise)

    def sample(self, around: Around, seed: Tensor) -> Tensor:
        """x0 ``[B, D]`` around ``loc``, from ``seed``."""
        rows, dim = around.loc.shape
        epsilon = standard_normal(rows, dim, around.loc, seed)
        return torch.addcmul(around.loc, around.width * self._deviation(around.cond), epsilon)

    def infer(self, x1: Tensor, around: Around, seed: Tensor) -> Tensor:
        """As :meth:`sample`: there are no latents."""
        return self.sample(around, seed)

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

    def _deviation(self, cond: Tensor) -> Tensor:
        return (self.variance(cond) + self.floor).sqrt()
