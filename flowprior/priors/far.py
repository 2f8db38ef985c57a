"""Conditions far from all that a fit has seen: the mean shrinks and the spread grows.

With d the distance of an embedding to the nearest one that the mean was fitted with, m̄ the mean of all data,
and m(c), Σ mean and covariance under a condition of the fit,

    x0 ~ N(m̄ + ρ (m(c) − m̄), w² Σ),   ρ = exp(−(d/ℓ)²),   w² = 1 + (W − 1)(1 − exp(−(d/L)²)).

Two of the numbers follow from the two ends. Far away nothing but m̄ is left, and W is the factor at which Σ
around m̄ has the spread of all data. Close by ρ = w = 1. The two lengths are those of the largest Gaussian
likelihood on rows of conditions that were held out whole and, where there are any, on rows that alone were
held out of their condition, at distance 0; these also correct Σ itself by a factor. With the squared distance
the correlation of neighbours falls as under a Gaussian process with a squared-exponential kernel (Rasmussen &
Williams 2006, section 4.2), of which this is the simplest stand-in that keeps every density exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

LENGTHS = 12
"""The number of values that are tried for each of the two lengths."""
SHORTEST, LEAST_EFFECT = 0.25, 0.05
"""The lengths lie between this share of the median distance, and one at which the largest distance takes so
large a share of the mean away, or adds so large a share to the variance."""
NEAR_FACTORS = 24
"""The number of values that are tried for the factor of the known spread."""
LEAST_NEAR = 0.05
"""The least of these, as a share of the one at which the rows are calibrated with one spread for all."""


class Around(NamedTuple):
    """What rows of a batch are drawn around.

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
    def fit(
        self, parts: Sequence[Part], center: Tensor, noise: Tensor, *, near: float | None = None
    ) -> float:
        """Learn the lengths and W by likelihood.

        Args:
            parts: rows that the mean was not fitted with.
            center: m̄ ``[D]``.
            noise: ψ ``[D]``, the diagonal of Σ.
            near: factor of Σ under conditions that are known, where it is given; else it is learned.

        Returns:
            That factor, for the prior to multiply Σ by; 1 where rows without any spread tell nothing.
        """
        distance, dim = torch.cat([part.distance for part in parts]).double().cpu(), len(center)
        whole, cross, own = torch.cat([part.products(center, noise) for part in parts], 1)

        def squares(trust: Tensor) -> Tensor:
            return whole - 2 * trust * cross + trust.square() * own

        most, as_near = (float(squares(share).mean()) / dim for share in (0 * distance, 0 * distance + 1))
        if not bool((distance > 0).any()) or not min(most, as_near) > 0:
            return 1.0
        tried = torch.logspace(0, 1, NEAR_FACTORS, base=1 / LEAST_NEAR) * LEAST_NEAR * min(most, as_near)
        factors = tried.tolist() if near is None else [near]
        best = (-torch.inf, torch.ones(()), torch.ones(()), 1.0)
        for shrinks in _lengths(distance, 1.0):
            square = squares(trust_at(distance, shrinks))
            for widens in _lengths(distance, max(most / factors[-1] - 1, 0.0)):
                lost = 1 - trust_at(distance, widens)
                for factor in factors:
                    variance = factor + max(most - factor, 0.0) * lost
                    value = -float((square / variance + dim * variance.log()).mean())
                    best = max(best, (value, shrinks, widens, factor), key=lambda found: found[0])
        _, shrinks, widens, factor = best
        self.lengths = torch.stack([shrinks, widens]).to(self.lengths)
        self.most = torch.as_tensor(max(most / factor, 1.0)).to(self.most)
        return factor


def trust_at(distance: Tensor, length: Tensor) -> Tensor:
    """exp(−(d/ℓ)²) of distances of any shape."""
    return (-(distance / length).square()).exp()


def _lengths(distance: Tensor, most: float) -> Tensor:
    """Lengths to try, falling, for an effect that is ``most`` far away."""
    apart = distance[distance > 0]
    least = SHORTEST * float(apart.median())
    longest = float(apart.max()) * max(most / LEAST_EFFECT, 1.0) ** 0.5
    return torch.logspace(1, 0, LENGTHS, base=max(longest / least, 1.0), dtype=torch.float64) * least
