"""The low-rank Gaussian around a mapper's mean, whose covariance a network gives from the condition.

    x1 ~ m(c) + ψ_c^½ (Q U_c λ_c^½ h + (I − Q Qᵀ) ε)

One basis Q ``[D, r]`` serves all conditions: that of the maximum-likelihood fit to the pooled residuals. The
network gives a triangular matrix A_c, which makes the r coordinates white, A_c Qᵀ ψ_c^(-1/2) (x − m), and the
noise ψ_c = f + (ψ − f) ρ_c, with the added variance f, the pooled noise ψ and the ratio ρ_c of the
condition's own variance outside the subspace to the pooled one. It is trained by Gaussian likelihood, outside
for ρ and inside for A (heteroscedastic regression: Nix & Weigend 1994; triangular factors: Dorta et al. 2018,
arXiv 1802.07079). Rotation U_c and variances λ_c are the eigenvectors and inverse eigenvalues of A_cᵀ A_c.
Learned themselves they would be caught where two λ meet.

Last, a factor for each principal axis and one outside set the variances to those of held-out rows, which no
overfitted mean makes small. One factor for all axes would not do: where axes are known roughly, what leaks
from the long ones makes the short ones too short, while the long ones are too long already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.mixtures.covariance import FitSettings
from flowprior.mixtures.families import LowRank
from flowprior.mixtures.moments import ConditionMoments
from flowprior.ops.last_results import LastResults
from flowprior.priors.frame import Axes, Frame
from flowprior.priors.holdout import Holdout, conditioned
from flowprior.priors.network_training import (
    KeptMean,
    Mapper,
    MapperNetwork,
    NetworkTraining,
    Objective,
    train_network,
)
from flowprior.priors.subspace import explaining_degenerate, lowrank_tables
from flowprior.streams.batches import CheckedBatches

Means = Callable[[Tensor], Tensor]
MOST_CHANGE = 6.0
"""The largest change of the logarithm of a variance from the pooled one."""
LEAST_OUTSIDE = 1e-4
"""Pooled variance outside the subspace, in units of the noise, below which a coordinate counts as inside."""
PSEUDO_ROWS = 10
"""Held-out rows that the factor of all principal axes counts for, in the factor of each."""


class ConditionalSpread(nn.Module):
    """Noise, variances and rotation under labels or embeddings, and the frames they make with a mean.

    Args:
        condition: kind and size of the condition, labels or embeddings.
        dim: D, numbers in an event.
        rank: r, at most D.
        hidden: width of the network.
        depth: residual blocks of the network.
        floor: added to the variances of source samples.
    """

    def __init__(
        self, condition: Condition, dim: int, rank: int, hidden: int, depth: int, floor: float
    ) -> None:
        super().__init__()
        self.sizes = [rank, rank * (rank - 1) // 2, dim]
        self.network = Mapper(condition, sum(self.sizes), hidden, depth)
        self.noise = nn.Buffer(torch.ones(dim))
        self.outside = nn.Buffer(torch.ones(dim))
        self.null_noise = nn.Buffer(torch.ones(dim))
        self.spread = nn.Buffer(torch.ones(rank))
        self.null_spread = nn.Buffer(torch.ones(rank))
        self.basis = nn.Buffer(torch.zeros(dim, rank))
        self.null_rotation = nn.Buffer(torch.eye(rank))
        self.factors = nn.Buffer(torch.ones(rank + 1))
        self.floor = nn.Buffer(torch.tensor(float(floor)))
        self._last = LastResults()

    # -- use ----------------------------------------------------------------------------------

    def frame(self, loc: Tensor, cond: Tensor) -> Frame:
        """Return the linear part around ``loc`` ``[B, D]`` under ``cond``."""
        precision, rotation, ratio = self._axes(cond)
        spread = (self.factors[:-1] / precision).clamp_min(1)
        signs = torch.where(rotation.diagonal(dim1=1, dim2=2) < 0, -1.0, 1.0).to(rotation)
        group = torch.zeros(len(loc), dtype=torch.long, device=loc.device)
        axes = RowAxes(self.basis[None], group, self._lengths, rotation=rotation * signs[:, None])
        return Frame(loc, self._noise(self.factors[-1] * ratio), spread, axes, float(self.floor))

    def _lengths(self) -> Tensor:
        return self.basis.square().sum(1)[None]

    def _parts(self, cond: Tensor) -> tuple[Tensor, Tensor]:
        """A ``[B, r, r]`` and ρ_c ``[B, D]``, before the factors."""
        diagonal, below, ratio = self.network(cond).split(self.sizes, dim=1)
        rank = len(self.spread)
        triangle = torch.diag_embed(_change(0.5 * diagonal))
        rows, columns = torch.tril_indices(rank, rank, -1, device=below.device)
        triangle[:, rows, columns] = below
        return triangle * self.spread.rsqrt(), _change(ratio)

    def _axes(self, cond: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """1/λ ``[B, r]`` and U ``[B, r, r]`` of the principal axes, and ρ_c ``[B, D]``; no factors yet.

        Those of the conditions that were asked for last are kept (:class:`LastResults`): a sampler asks for
        the same ones at every step, and finding the axes of one condition takes longer than most networks.
        """

        def found(*_: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            triangle, ratio = self._parts(cond)
            precision, rotation = torch.linalg.eigh(triangle.mT @ triangle)
            return precision, rotation, ratio

        return self._last.of(found, self.spread, *self.network.parameters(), values=(cond,))

    def _noise(self, ratio: Tensor) -> Tensor:
        return self.floor + (self.noise - self.floor) * ratio

    # -- fit ----------------------------------------------------------------------------------

    def fit(
        self,
        data: Holdout,
        mapper: MapperNetwork,
        center: Tensor,
        options: NetworkTraining,
        generator: torch.Generator | None,
    ) -> None:
        """Learn everything from the residuals x1 − mapper(c) − center, and improve the mapper by the way.

        A mean that was fitted by squared error takes the noise of all coordinates as equal and independent.
        The same likelihood that gives the covariance gives it the weights of generalised least squares. Those
        are small where the residuals are large, and there the mean may come out worse than it went in: where
        its squared error on held-out rows has clearly risen, the mapper stays as it was, and the covariance
        is learned around it.

        Args:
            data: rows to train on, and those held out.
            mapper: fitted by squared error.
            center: mean of all x1, ``[D]``; that of the null condition.
            options: of the training.
            generator: of all randomness.
        """

        def means(cond: Tensor) -> Tensor:
            return mapper(cond) + center

        self._fit_pooled(data.data, means, generator)
        self._fit_null(data.data, center)
        self.network.initialise(generator)
        kept = KeptMean(mapper, data, center)
        both = nn.ModuleList([mapper, self.network])
        train_network(both, self._loss_of(means), data, options, generator)
        if kept.restored():
            self.network.initialise(generator)
            train_network(self.network, self._loss_of(means), data, options, generator)
        self._calibrate(data, means)

    @torch.no_grad()
    def _fit_pooled(self, data: CheckedBatches, means: Means, generator: torch.Generator | None) -> None:
        """Basis, λ and ψ of the pooled residuals, and what is left outside."""

        def residuals() -> Iterator[tuple[Tensor, int]]:
            return (((x - means(cond)).cpu(), 0) for x, cond in conditioned(data))

        moments = ConditionMoments.over((residual, None) for residual, _ in residuals()).about_origin()
        like = data.peek()[0]
        settings = FitSettings(float(self.floor), 0.0, generator)
        with explaining_degenerate(data.owner, settings.reg_covar):
            fitter = LowRank(self.basis.shape[1]).fitter(moments, 1, dtype=like.dtype, settings=settings)
            fitter.fit_single(residuals, moments)
            tables = lowrank_tables(fitter.mean, fitter.covariance, like)
        self.noise, self.basis, self.spread = (
            tables[name][0].to(self.noise) for name in ("noise", "basis", "spread")
        )
        outside = _mean_square(self._outside(x - means(cond)) for x, cond in conditioned(data))
        self.outside = outside.to(self.noise).clamp_min(LEAST_OUTSIDE)

    @torch.no_grad()
    def _fit_null(self, data: CheckedBatches, center: Tensor) -> None:
        """The frame of all data, whatever their condition, in the same basis."""
        outside = _mean_square(self._outside(x - center) for x, _ in data).to(self.noise)
        self.null_noise = self._noise((outside / self.outside).clamp_min(1))
        scale = self.null_noise.rsqrt()
        values, vectors = torch.linalg.eigh(
            _mean_square((((x - center) * scale) @ self.basis for x, _ in data), full=True)
        )
        self.null_spread, self.null_rotation = values.clamp_min(1).to(self.noise), vectors.to(self.noise)

    def _outside(self, residual: Tensor) -> Tensor:
        """(I − Q Qᵀ) ψ^(-1/2) r ``[B, D]``."""
        white = residual * self.noise.rsqrt()
        return white - white @ self.basis @ self.basis.T

    def _loss_of(self, means: Means) -> Objective:
        def loss(x: Tensor, cond: Tensor, _: torch.Generator | None) -> Tensor:
            outside, inside, log_det = self._squares(x - means(cond), cond)
            nats = outside.sum(1) + inside.sum(1) + log_det
            return 0.5 * nats.mean() / x.shape[1]

        return loss

    def _squares(self, residual: Tensor, cond: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Squares of white residuals, outside ``[B, D]`` and inside ``[B, r]``, and log det Σ ``[B]``.

        ψ is a constant inside, or the likelihood there would bend it.
        """
        triangle, ratio = self._parts(cond)
        outside = self._outside(residual).square() / (self.outside * ratio)
        along = (residual * self._noise(ratio.detach()).rsqrt()) @ self.basis
        inside = (triangle @ along[:, :, None])[:, :, 0].square()
        log_det = ratio.log().sum(1) - 2 * triangle.diagonal(dim1=1, dim2=2).log().sum(1)
        return outside, inside, log_det

    @torch.no_grad()
    def _calibrate(self, data: Holdout, means: Means) -> None:
        """Factors of each principal axis and outside: the mean squares of :meth:`Holdout.residual_rows`."""
        rows = conditioned(data.residual_rows())
        found = ConditionMoments.over(
            (self._along_and_outside(x - means(cond), cond), None) for x, cond in rows
        )
        squares, count = found.mean[0], found.count
        along = (squares[:-1] * count + PSEUDO_ROWS * squares[:-1].mean()) / (count + PSEUDO_ROWS)
        squares = torch.cat([along, squares[-1:]])
        self.factors = torch.where(squares > 0, squares, 1.0).to(self.noise)

    def _along_and_outside(self, residual: Tensor, cond: Tensor) -> Tensor:
        """Return white squares along the principal axes, and their mean outside of them, ``[B, r + 1]``."""
        counted = (self.outside > LEAST_OUTSIDE).to(self.noise)
        outside = self._squares(residual, cond)[0] * counted
        precision, rotation, ratio = self._axes(cond)
        along = (residual * self._noise(ratio).rsqrt()) @ self.basis
        white = (rotation.mT @ along[:, :, None])[:, :, 0] * precision.sqrt()
        mean = outside.sum(1, keepdim=True) / counted.sum().clamp_min(1)
        return torch.cat([white.square(), mean], dim=1)


def _mean_square(parts: Iterable[Tensor], *, full: bool = False) -> Tensor:
    """Mean squares ``[D]`` of the rows y of all ``parts`` ``[B, D]``, or the mean of y yᵀ, in float64."""
    found = ConditionMoments.over(((part, None) for part in parts), full=full).about_origin()
    return found.scatter[0] / found.count


def _change(x: Tensor) -> Tensor:
    """A factor of a variance from an unbounded number; 1 at 0."""
    return (MOST_CHANGE * (x / MOST_CHANGE).tanh()).exp()


@dataclass(frozen=True, kw_only=True)
class RowAxes(Axes):
    """The axes Q U of rows that share one Q and have a rotation each.

    Attributes:
        rotation: U ``[B, r, r]``.
    """

    rotation: Tensor

    def into(self, white: Tensor) -> Tensor:
        along = super().into(white)
        return torch.einsum("bji, b...j -> b...i", self.rotation.to(along.dtype), along)

    def out_of(self, along: Tensor) -> Tensor:
        return super().out_of(torch.einsum("bij, b...j -> b...i", self.rotation.to(along.dtype), along))

    def diagonal(self, weights: Tensor) -> Tensor:
        squares = self.rotation.square().to(weights.dtype)
        return super().diagonal(torch.einsum("bij, b...j -> b...i", squares, weights))
