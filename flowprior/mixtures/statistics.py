"""Sufficient statistics of one EM pass, in float64, about each condition's own mean."""

from __future__ import annotations

import torch
from torch import Tensor


class Statistics:
    """Responsibility-weighted sums about a reference point of each condition.

    Attributes:
        count: Σ r, ``[C, K]``.
        first: Σ r (x − ref), ``[C, K, D]``.
        second: Σ r (x − ref)², ``[C, K, D]``, or Σ r (x − ref)(x − ref)ᵀ, ``[C, K, D, D]``.
    """

    def __init__(self, conditions: int, components: int, dim: int, *, full: bool = False) -> None:
        self.full = full
        self.count = torch.zeros(conditions, components, dtype=torch.float64)
        self.first = torch.zeros(conditions, components, dim, dtype=torch.float64)
        self.second = torch.zeros(conditions, components, dim, *([dim] if full else []), dtype=torch.float64)

    def clear(self) -> None:
        """Back to zero, for the next pass."""
        for tensor in (self.count, self.first, self.second):
            tensor.zero_()

    def regularised(
        self, offset: Tensor, second: Tensor, shrinkage: float | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised moments after adding ``shrinkage`` pooled examples to every component.

        Args:
            offset: pooled mean relative to the reference, ``[C, D]``.
            second: pooled second moment about the reference, ``[C, D]`` or ``[C, D, D]``.
            shrinkage: one number, or one a condition ``[C, 1]``.

        Returns:
            effective count ``[C, K]``, mean offset ``[C, K, D]``, and covariance (or variance) about the
            mean. A component without any example takes the pooled moments.
        """
        empty = self.count + shrinkage <= 1e-10
        added = torch.where(empty, 1.0, torch.as_tensor(shrinkage).to(self.count).expand_as(self.count))
        count = self.count + added
        first = (self.first + added[..., None] * offset[:, None]) / count[..., None]
        weight = count.view(*count.shape, *[1] * (self.second.dim() - 2))
        moment = (self.second + added.view_as(weight) * second[:, None]) / weight
        outer = first[..., :, None] * first[..., None, :] if self.full else first.square()
        return count, first, moment - outer
