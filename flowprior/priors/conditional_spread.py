"""The low-rank Gaussian around a mapper's mean, whose covariance a network gives from the condition.

    x1 ~ m(c) + ψ_c^½ (Q U_c λ_c^½ h + (I − Q Qᵀ) ε)

One basis Q ``[D, r]`` serves all conditions: that of the maximum-likelihood fit to the pooled residuals. Of each
condition are the rotation U_c, a product of reflections (:mod:`flowprior.priors.reflections`), the variances λ_c
along the principal axes, and the noise ψ_c = f + (ψ − f) ρ_c, with the variance floor f, the pooled noise ψ and the
ratio ρ_c of the condition's own variance outside the subspace to the pooled one. The network is trained by Gaussian
likelihood, outside for ρ and inside for U and λ (heteroscedastic regression: Nix & Weigend 1994). Last, one factor
inside and one outside set the variances to those of held-out rows, which no overfitted mean makes small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.data.stream import Batch, CheckedBatches
from flowprior.mixtures import FitSettings
from flowprior.priors.density_training import DensityTraining, train_density
from flowprior.priors.holdout import Holdout
from flowprior.priors.mapper_training import Mapper
from flowprior.priors.reflections import MirroredFrame, pairs_of_mirrors, rotate_back
from flowprior.priors.residuals import fit_factor
from flowprior.priors.subspace import canonical_basis

Means = Callable[[Tensor], Tensor]
PAIRS = 8
"""Pairs of reflections in a rotation, at most."""
MOST_CHANGE = 6.0
"""Of the logarithm of a variance, against the pooled one."""
LEAST_EXCESS = 1e-3
"""Of a pooled λ over 1, from which a condition's own may grow."""
LEAST_OUTSIDE = 1e-4
"""Pooled variance outside the subspace, in units of the noise, below which a coordinate counts as inside."""


class ConditionalSpread(nn.Module):
    """Noise, variances and rotation under labels or embeddings, and the frames they make with a mean.

    Args:
        condition: kind and size of the condition, labels or embeddings.
        dim: D, numbers in an event.
        rank: r, at most D.
        hidden: width of the network.
        depth: residual blocks of the network.
    """

    noise: Tensor
    basis: Tensor
    spread: Tensor
    outside: Tensor
    mirrors: Tensor
    factors: Tensor
    floor: Tensor
    null_loc: Tensor
    null_noise: Tensor
    null_spread: Tensor
    null_rotation: Tensor

    def __init__(self, condition: Condition, dim: int, rank: int, hidden: int = 256, depth: int = 2) -> None:
        super().__init__()
        self.condition = condition
        mirrors = pairs_of_mirrors(min(PAIRS, rank), rank)
        self.sizes = [rank, mirrors.numel(), dim]
        self.network = Mapper(condition, sum(self.sizes), hidden, depth)
        self.register_buffer("mirrors", mirrors)
        for name in ("noise", "outside", "null_noise"):
            self.register_buffer(name, torch.ones(dim))
        for name in ("spread", "null_spread"):
            self.register_buffer(name, torch.ones(rank))
        self.register_buffer("basis", torch.zeros(dim, rank))
        self.register_buffer("null_loc", torch.zeros(dim))
        self.register_buffer("null_rotation", torch.eye(rank))
        self.register_buffer("factors", torch.ones(2))
        self.register_buffer("floor", torch.zeros(()))

    # -- use ----------------------------------------------------------------------------------

    def frame(self, loc: Tensor, cond: Tensor) -> MirroredFrame:
        """The linear part around ``loc`` ``[B, D]`` under ``cond``; null conditions have the pooled moments."""
        spread, mirrors, ratio = self._parts(cond)
        spread = (self.factors[0] * spread).clamp_min(1)
        noise = self._noise(self.factors[1] * ratio)
        null = self._is_null(cond)
        if bool(null.any()):
            loc = torch.where(null[:, None], self.null_loc, loc)
            noise = torch.where(null[:, None], self.null_noise, noise)
            spread = torch.where(null[:, None], self.null_spread, spread)
        return MirroredFrame(
            loc,
            noise,
            spread,
            self.basis[None],
            torch.zeros(len(loc), dtype=torch.long, device=loc.device),
            self.basis.square().sum(1)[None],
            floor=float(self.floor),
            mirrors=mirrors,
            null=null,
            null_rotation=self.null_rotation,
        )

    def _parts(self, cond: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """λ ``[B, r]``, the reflections' vectors ``[B, m, r]`` and ρ ``[B, D]``, before the factors."""
        spread, mirrors, ratio = self.network(cond).split(self.sizes, dim=1)
        spread = 1 + (self.spread - 1).clamp_min(LEAST_EXCESS) * _change(spread)
        return spread, self.mirrors + mirrors.unflatten(1, self.mirrors.shape), _change(ratio)

    def _noise(self, ratio: Tensor) -> Tensor:
        return self.floor + (self.noise - self.floor) * ratio

    def _is_null(self, cond: Tensor) -> Tensor:
        if self.condition.kind == "labels":
            return cond == self.condition.size
        return (cond == 0).all(1)

    # -- fit ----------------------------------------------------------------------------------

    def fit(
        self, data: Holdout, means: Means, settings: FitSettings, options: DensityTraining, center: Tensor
    ) -> None:
        """Learn everything from the residuals x1 − ``means``(c).

        Args:
            data: rows to train on, and those held out.
            means: from conditions ``[B]`` or ``[B, E]`` to ``[B, D]``.
            settings: variance floor and randomness.
            options: of the training.
            center: mean of all x1, ``[D]``, for the null condition.
        """
        self._fit_pooled(data.data, means, settings)
        self._fit_null(data.data, center)
        self.network.initialise(settings.generator)
        objective = self._loss_of(means)
        train_density(self.network, objective, data, options, settings.generator)
        self._calibrate(data, means)

    @torch.no_grad()
    def _fit_pooled(self, data: CheckedBatches, means: Means, settings: FitSettings) -> None:
        """Basis, λ and ψ of the pooled residuals, and what is left outside."""
        factor, noise = fit_factor(data, means, self.basis.shape[1], settings)
        basis, singular, _ = torch.linalg.svd(factor / noise.sqrt()[:, None], full_matrices=False)
        basis, spread = canonical_basis(basis[None], 1 + singular.square()[None])
        self.noise, self.basis, self.spread = (value.to(self.noise) for value in (noise, basis[0], spread[0]))
        self.floor = torch.as_tensor(settings.reg_covar).to(self.noise)
        outside = _mean(self._outside(x - means(cond)).square() for x, cond in _conditioned(data))
        self.outside = outside.to(self.noise).clamp_min(LEAST_OUTSIDE)

    @torch.no_grad()
    def _fit_null(self, data: CheckedBatches, center: Tensor) -> None:
        """The frame of all data, whatever their condition, in the same basis."""
        self.null_loc = center.clone()
        outside = _mean(self._outside(x - center).square() for x, _ in data).to(self.noise)
        self.null_noise = self._noise((outside / self.outside).clamp_min(1))
        scale = self.null_noise.rsqrt()
        inside = (((x - center) * scale) @ self.basis for x, _ in data)
        covariance = _mean(y[:, :, None] * y[:, None, :] for y in inside)
        values, vectors = torch.linalg.eigh(covariance)
        self.null_spread, self.null_rotation = values.clamp_min(1).to(self.noise), vectors.to(self.noise)

    def _outside(self, residual: Tensor) -> Tensor:
        """(I − Q Qᵀ) ψ^(-1/2) r ``[B, D]``."""
        white = residual * self.noise.rsqrt()
        return white - white @ self.basis @ self.basis.T

    def _loss_of(self, means: Means) -> Callable[[Tensor, Tensor | None, torch.Generator | None], Tensor]:
        def loss(x: Tensor, cond: Tensor | None, _: torch.Generator | None) -> Tensor:
            assert cond is not None
            with torch.no_grad():
                residual = x - means(cond)
            outside, inside, ratio, spread = self._squares(residual, cond)
            nats = (outside + ratio.log()).sum(1) + (inside + spread.log()).sum(1)
            return 0.5 * nats.mean() / x.shape[1]

        return loss

    def _squares(self, residual: Tensor, cond: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Squared whitened residuals outside ``[B, D]`` and inside ``[B, r]``, with their ρ and λ.

        ψ is a constant inside, or the likelihood there would bend it.
        """
        spread, mirrors, ratio = self._parts(cond)
        outside = self._outside(residual).square() / (self.outside * ratio)
        along = (residual * self._noise(ratio.detach()).rsqrt()) @ self.basis
        return outside, rotate_back(along, mirrors).square() / spread, ratio, spread

    @torch.no_grad()
    def _calibrate(self, data: Holdout, means: Means) -> None:
        """Factors inside and outside: the mean squares of rows held out, or of all where none are."""
        counted = (self.outside > LEAST_OUTSIDE).to(self.noise)
        total, count = torch.zeros(2, dtype=torch.float64), 0
        for x, cond in data.rows(held_out=not data.is_empty):
            assert cond is not None
            outside, inside, _, _ = self._squares(x - means(cond), cond)
            outside = (outside * counted).sum(1) / counted.sum().clamp_min(1)
            total += torch.stack([inside.mean(1).sum(), outside.sum()]).double().cpu()
            count += len(x)
        factors = torch.where(total > 0, total / count, 1.0)
        self.factors = factors.to(self.noise)


def _conditioned(data: Iterable[Batch]) -> Iterator[tuple[Tensor, Tensor]]:
    for x, cond in data:
        assert cond is not None
        yield x, cond


def _mean(parts: Iterable[Tensor]) -> Tensor:
    """Mean over the rows of all ``parts`` ``[B, …]``, in float64."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for part in parts:
        total = total + part.sum(0, dtype=torch.float64)
        count += len(part)
    return total / count


def _change(x: Tensor) -> Tensor:
    """A factor of a variance from an unbounded number; 1 at 0."""
    return (MOST_CHANGE * (x / MOST_CHANGE).tanh()).exp()
