"""Ridge regression from conditions to data, as a Gaussian distribution: a baseline without a network.

With z = (c, 1) the weights are W = (Σ z zᵀ + s P)⁻¹ Σ z xᵀ. P is diagonal: the variance of each number of c,
so that the strength s penalises standardised numbers, and 0 for the constant. The errors of rows that were
left out have the moments Σ (x − Wᵀz)(x − Wᵀz)ᵀ = Σ x xᵀ − Wᵀ Σ z xᵀ − (Wᵀ Σ z xᵀ)ᵀ + Wᵀ Σ z zᵀ W, so that one
pass over the data serves all strengths.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from flowprior.data import Data

FOLDS = 7
STRENGTHS = (30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
LEAST_VARIANCE = 1e-9
"""A number of the condition that varies less is a constant."""
Read = Callable[[Tensor], Tensor]
"""A function of conditions that returns the rows ``[B, E]`` that a regression reads."""


class Regression(NamedTuple):
    """A Gaussian whose mean is linear in the condition.

    Attributes:
        read: gives the rows of conditions.
        weights: ``[E + 1, D]``; the constants are last.
        factor: ``[D, D]``, of the covariance of errors on rows that were left out.
    """

    read: Read
    weights: Tensor
    factor: Tensor

    def sample(self, cond: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a sample ``[B, D]``, float64, for each condition."""
        mean = with_one(self.read(cond)) @ self.weights
        return mean + torch.randn(mean.shape, generator=generator, dtype=mean.dtype) @ self.factor.T


def fit_regression(data: Data, read: Read, *, diagonal: bool = False) -> Regression:
    """Fit a regression whose strength has the least error on rows that are left out, by whole groups.

    Args:
        data: the training data; data samples of one of its groups are left out together.
        read: gives the rows of conditions.
        diagonal: True to keep the variances of the errors alone.
    """
    groups = torch.arange(len(data)) if data.groups is None else data.groups.unique(return_inverse=True)[1]
    folds = [_moments(data, (groups % FOLDS == fold).nonzero()[:, 0], read) for fold in range(FOLDS)]
    zz, zx, _ = (torch.stack(parts).sum(0) for parts in zip(*folds, strict=True))
    variance = zz.diag() / len(data) - (zz[-1] / len(data)).square()
    penalty = torch.where(variance > LEAST_VARIANCE, variance, 1.0)
    penalty[-1] = 0

    def errors(strength: float) -> Tensor:
        total = torch.zeros_like(folds[0][2])
        for own_zz, own_zx, own_xx in folds:
            weights = torch.linalg.solve(zz - own_zz + strength * penalty.diag(), zx - own_zx)
            predicted = weights.T @ own_zx
            total += own_xx - predicted - predicted.T + weights.T @ own_zz @ weights
        return total / len(data)

    found = {strength: errors(strength) for strength in STRENGTHS}
    best = min(found, key=lambda strength: float(found[strength].trace()))
    variances = found[best].diag().clamp_min(0)
    factor = variances.sqrt().diag() if diagonal else torch.linalg.cholesky(found[best])
    return Regression(read, torch.linalg.solve(zz + best * penalty.diag(), zx), factor)


def with_one(rows: Tensor) -> Tensor:
    """Return rows ``[B, E + 1]``, float64, with a constant of 1 at their end."""
    return torch.nn.functional.pad(rows.double(), (0, 1), value=1.0)


def _moments(data: Data, indices: Tensor, read: Read) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sums of z zᵀ, z xᵀ and x xᵀ over these rows."""
    x, cond = data.batch(indices)
    assert isinstance(cond, Tensor)
    z, x = with_one(read(cond)), x.flatten(1).double()
    return z.T @ z, z.T @ x, x.T @ x
