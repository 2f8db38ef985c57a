"""MeanPrior: a mean that follows the condition, residuals around it, less trust far from the fit.

With d the distance of an embedding to the nearest one that the mean was fitted with, m̄ the mean of all data,
and m(c), Σ mean and covariance under a condition of the fit,

    x0 ~ N(m̄ + ρ (m(c) − m̄), w² Σ),   ρ = exp(−(d/ℓ)²),   w² = 1 + (W − 1)(1 − exp(−(d/L)²)).

Two of the numbers follow from the two ends. Far away nothing but m̄ is left, and W is the factor at which Σ
around m̄ has the spread of all data. Close by ρ = w = 1. The two lengths are those of the largest Gaussian
likelihood on rows of conditions that were held out whole and, where there are any, on rows that alone were
held out of their condition, at distance 0. With the squared distance the correlation of neighbours falls as
under a Gaussian process with a squared-exponential kernel (Rasmussen & Williams 2006, section 4.2), of which
this is the simplest stand-in that keeps every density exact.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from flowprior.errors import InputError
from flowprior.priors.base import Prior
from flowprior.priors.frame import DiagonalFrame, Frame
from flowprior.priors.seen_conditions import SeenConditions

LENGTHS = 12
"""The number of values that are tried for each of the two lengths."""
SHORTEST, LEAST_EFFECT = 0.25, 0.05
"""The lengths lie between this share of the median distance, and one at which the largest distance takes so
large a share of the mean away, or adds so large a share to the variance."""


class Around(NamedTuple):
    """The centres that rows of a batch are drawn around.

    Attributes:
        loc: mean of each row, ``[B, D]``, shrunk.
        cond: labels ``[B]`` or embeddings ``[B, E]``.
        width: w ``[B, 1]``, a factor of standard deviations.
    """

    loc: Tensor
    cond: Tensor
    width: Tensor


class Part(NamedTuple):
    """Held-out rows.

    Attributes:
        x: ``[n, D]``.
        deviation: m(c) − m̄ ``[n, D]``.
        distance: how far away their conditions are, ``[n]``.
    """

    x: Tensor
    deviation: Tensor
    distance: Tensor

    def products(self, center: Tensor, noise: Tensor) -> Tensor:
        """Return (x − m̄)ᵀ ψ⁻¹ (x − m̄), that with the deviation, and of the deviation, ``[3, n]``."""
        residual, deviation = (self.x - center).double(), self.deviation.double()
        pairs = (residual, residual), (residual, deviation), (deviation, deviation)
        return torch.stack([(a * b / noise).sum(1) for a, b in pairs]).cpu()


class FarConditions(nn.Module):
    """ρ and w at a distance, once :meth:`fit` has seen held-out rows; before, both are 1. Three numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.lengths = nn.Buffer(torch.zeros(2))
        self.most = nn.Buffer(torch.ones(()))

    @property
    def is_fitted(self) -> bool:
        """True if distances change anything."""
        return bool(self.lengths[0] > 0)

    def around(self, center: Tensor, deviation: Tensor, cond: Tensor, distance: Tensor | None) -> Around:
        """Return what rows are drawn around, from m̄ ``[D]`` and m(c) − m̄ ``[B, D]``.

        Args:
            center: mean of all data.
            deviation: of the conditional mean from it.
            cond: labels ``[B]`` or embeddings ``[B, E]``.
            distance: of the embeddings to the nearest that the mean was fitted with, ``[B]``; None where that
                is not known, or has no meaning.
        """
        if distance is None or not self.is_fitted:
            return Around(center + deviation, cond, deviation.new_ones(len(deviation), 1))
        trust, lost = (trust_at(distance, length).to(deviation)[:, None] for length in self.lengths)
        return Around(center + trust * deviation, cond, (1 + (self.most - 1) * (1 - lost)).sqrt())

    @torch.no_grad()
    def fit(self, parts: Sequence[Part], center: Tensor, noise: Tensor) -> None:
        """Learn the lengths and W by likelihood; nothing of rows without any spread.

        Args:
            parts: rows that the mean was not fitted with.
            center: m̄ ``[D]``.
            noise: ψ ``[D]``, the diagonal of Σ.
        """
        distance, dim = torch.cat([part.distance for part in parts]).double().cpu(), len(center)
        whole, cross, own = torch.cat([part.products(center, noise) for part in parts], 1)
        most = float(whole.mean()) / dim
        if not bool((distance > 0).any()) or not most > 0:
            return
        best = (-torch.inf, torch.ones(()), torch.ones(()))
        for shrinks in _lengths(distance, 1.0):
            trust = trust_at(distance, shrinks)
            square = whole - 2 * trust * cross + trust.square() * own
            for widens in _lengths(distance, max(most - 1, 0.0)):
                variance = 1 + max(most - 1, 0.0) * (1 - trust_at(distance, widens))
                value = -float((square / variance + dim * variance.log()).mean())
                best = max(best, (value, shrinks, widens), key=lambda found: found[0])
        self.lengths = torch.stack(best[1:]).to(self.lengths)
        self.most = torch.as_tensor(max(most, 1.0)).to(self.most)


def check_condition_shape(part: Tensor, dims: Tensor, owner: str) -> None:
    """Refuse conditions ``part`` ``[B, …]``, not flat yet, of another shape than ``dims``, if that has any.

    Raises:
        InputError: what was expected, and what came; ``owner`` is named.
    """
    shape = dims.tolist()
    if shape and part.dim() > 2 and list(part.shape[1:]) != shape:
        raise InputError(f"{owner}: expected conditions {shape}, got {list(part.shape[1:])}")


def trust_at(distance: Tensor, length: Tensor) -> Tensor:
    """exp(−(d/ℓ)²) of distances of any shape."""
    return (-(distance / length).square()).exp()


def _lengths(distance: Tensor, most: float) -> Tensor:
    """Lengths to try, falling, for an effect that is ``most`` far away."""
    apart = distance[distance > 0]
    least = SHORTEST * float(apart.median())
    longest = float(apart.max()) * max(most / LEAST_EFFECT, 1.0) ** 0.5
    return torch.logspace(1, 0, LENGTHS, base=max(longest / least, 1.0), dtype=torch.float64) * least


class MeanPrior(Prior, abc.ABC):
    """Base class of priors x0 = m(c) + residual.

    Subclasses set ``residuals``, one of :mod:`flowprior.priors.residuals` or
    :mod:`flowprior.priors.lowrank_residuals`, and give :meth:`_deviation`.

    Args:
        seen: what the prior keeps of the conditions.
    """

    residuals: Any
    has_spread: bool = True

    def __init__(self, seen: SeenConditions) -> None:
        super().__init__(seen)
        self.center = nn.Buffer(torch.empty(0))  # mean of all x1, [D]
        self.distance = FarConditions()

    @abc.abstractmethod
    def _deviation(self, cond: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return m(c) − center ``[B, D]``, and the distance of each condition to those of the fit ``[B]``.

        The distance is None where it is not known, or has no meaning.
        """

    def _around(self, cond: Tensor | None) -> Around:
        """Return what rows are drawn around under ``cond``."""
        assert cond is not None
        own = self._own(cond)
        deviation, distance = self._deviation(own)
        return self.distance.around(self.center, deviation, own, distance)

    def _own(self, cond: Tensor) -> Tensor:
        """Return ``cond`` on the device of the means, embeddings in their dtype."""
        return cond.to(self.center) if cond.is_floating_point() else cond.to(self.center.device)

    @torch.no_grad()
    def spread(self, cond: Tensor | None, n: int) -> Frame | DiagonalFrame:
        assert cond is not None
        null, known = self.seen.without_null(cond.to(self.center.device))
        return self.residuals.frame(self._around(known), null, self.center)

    @torch.no_grad()
    def _mean(self, cond: Tensor | None, n: int) -> Tensor:
        return self._around(cond).loc

    @torch.no_grad()
    def _sample(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> Tensor:
        return self.residuals.sample(self._around(cond), generator)

    @torch.no_grad()
    def _infer(self, x1: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        around = self._around(cond)
        return self.residuals.infer(x1.to(around.loc), around, generator)

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        around = self._around(cond)
        return self.residuals.log_prob(x.to(torch.promote_types(x.dtype, around.loc.dtype)), around)
