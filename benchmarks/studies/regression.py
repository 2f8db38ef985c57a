"""Ridge regression from conditions to data, as a Gaussian distribution: a baseline without a network.

With z = (c, 1) the weights are W = (Σ z zᵀ + s P)⁻¹ Σ z xᵀ. P is diagonal: the variance of each number of c,
so that the strength s penalises standardised numbers, and 0 for the constant. The sums M of r rᵀ, r = (z, x),
give the errors of the rows that they are over, too: Σ (Wᵀz − x)(Wᵀz − x)ᵀ = (W, −I)ᵀ M (W, −I). So one pass
over the data serves all strengths.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

FOLDS = 7
STRENGTHS = (30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
LEAST_VARIANCE = 1e-9
"""A number of the condition that varies less is a constant."""


class Regression(NamedTuple):
    """A Gaussian whose mean is linear in the condition.

    Attributes:
        weights: ``[E + 1, D]``; the constants are last.
        factor: ``[D, D]``, of the covariance of errors on rows that were left out.
    """

    weights: Tensor
    factor: Tensor

    def sample(self, cond: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a sample ``[B, D]``, float64, for each condition ``[B, E]``."""
        mean = with_one(cond) @ self.weights
        return mean + torch.randn(mean.shape, generator=generator, dtype=mean.dtype) @ self.factor.T


def fit_regression(cond: Tensor, x: Tensor, groups: Tensor | None, *, diagonal: bool = False) -> Regression:
    """Fit a regression whose strength has the least error on rows that are left out.

    Args:
        cond: conditions of the training data, ``[N, E]``.
        x: their data samples, ``[N, D]``.
        groups: int64 ``[N]``, rows that are left out together; None leaves out single ones.
        diagonal: True to keep the variances of the errors alone.
    """
    rows, count = torch.cat([with_one(cond), x.double()], 1), len(x)
    folds = (torch.arange(count) if groups is None else groups.unique(return_inverse=True)[1]) % FOLDS
    parts = [rows[folds == fold].T @ rows[folds == fold] for fold in range(FOLDS)]
    whole, minus, z = torch.stack(parts).sum(0), -torch.eye(x.shape[1]).double(), slice(cond.shape[1] + 1)
    variance = (whole.diag() / count - (whole[z.stop - 1] / count).square())[z]
    penalty = torch.where(variance > LEAST_VARIANCE, variance, 1.0)
    penalty[-1] = 0

    def weights(moments: Tensor, strength: float) -> Tensor:
        return torch.linalg.solve(moments[z, z] + strength * penalty.diag(), moments[z, z.stop :])

    def errors(strength: float) -> Tensor:
        left_out = [(part, torch.cat([weights(whole - part, strength), minus])) for part in parts]
        return torch.stack([both.T @ part @ both for part, both in left_out]).sum(0) / count

    found = {strength: errors(strength) for strength in STRENGTHS}
    best = min(found, key=lambda strength: float(found[strength].trace()))
    deviations = found[best].diag().clamp_min(0).sqrt()
    factor = deviations.diag() if diagonal else torch.linalg.cholesky(found[best])
    return Regression(weights(whole, best), factor)


def with_one(rows: Tensor) -> Tensor:
    """Return rows ``[B, E + 1]``, float64, with a constant of 1 at their end."""
    return torch.nn.functional.pad(rows.double(), (0, 1), value=1.0)
