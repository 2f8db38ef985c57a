"""Fréchet distance between Gaussians fitted to two sets of features, in float64.

d² = ‖m₁ − m₂‖² + tr(C₁) + tr(C₂) − 2 tr((C₁ C₂)^½)      (Dowson & Landau 1982; Heusel et al. 2017)

The trace of the square root is the sum of the square roots of the eigenvalues of the symmetric
C₁^½ C₂ C₁^½: real and non-negative, also for singular covariances, where a general matrix square root
turns complex.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from flowprior.errors import InputError


@dataclass
class FeatureMoments:
    """Mean and covariance of features that arrive in batches (Chan et al. 1983), in float64.

    Attributes:
        count: rows seen.
        mean: ``[F]``.
        scatter: ``[F, F]``, the sum of outer products of the deviations from the mean.
    """

    count: int = 0
    mean: Tensor | None = None
    scatter: Tensor | None = None

    @classmethod
    def of(cls, batches: Iterable[Tensor]) -> FeatureMoments:
        """The moments of every row of ``batches``, each ``[B, F]``."""
        moments = cls()
        for batch in batches:
            moments.update(batch)
        return moments

    def update(self, features: Tensor) -> None:
        """Add the rows of ``features`` ``[B, F]``.

        Raises:
            InputError: not a matrix, or non-finite values.
        """
        if features.dim() != 2 or not torch.isfinite(features).all():
            raise InputError(f"FeatureMoments: expected finite features [B, F], got {list(features.shape)}")
        if len(features) == 0:
            return
        rows = features.detach().double().cpu()
        mean = rows.mean(0)
        scatter = (rows - mean).T @ (rows - mean)
        if self.mean is None or self.scatter is None:
            self.count, self.mean, self.scatter = len(rows), mean, scatter
            return
        total = self.count + len(rows)
        delta = mean - self.mean
        self.scatter = self.scatter + scatter + torch.outer(delta, delta) * (self.count * len(rows) / total)
        self.mean = self.mean + delta * (len(rows) / total)
        self.count = total

    def covariance(self) -> Tensor:
        """Unbiased covariance ``[F, F]``.

        Raises:
            InputError: fewer than two rows were seen.
        """
        if self.scatter is None or self.count < 2:
            raise InputError(f"FeatureMoments: a covariance needs at least 2 rows, got {self.count}")
        return self.scatter / (self.count - 1)

    def distance(self, other: FeatureMoments) -> float:
        """Fréchet distance to ``other``."""
        mine, theirs = self.covariance(), other.covariance()
        assert self.mean is not None
        assert other.mean is not None
        return frechet_distance(self.mean, mine, other.mean, theirs)


def frechet_distance(mean_1: Tensor, cov_1: Tensor, mean_2: Tensor, cov_2: Tensor) -> float:
    """Squared 2-Wasserstein distance between N(mean_1, cov_1) and N(mean_2, cov_2); never negative.

    Args:
        mean_1: ``[F]``.
        cov_1: ``[F, F]``, symmetric and positive semi-definite.
        mean_2: ``[F]``.
        cov_2: ``[F, F]``.

    Raises:
        InputError: shapes that do not fit.
    """
    size = len(mean_1)
    if mean_2.shape != mean_1.shape or not cov_1.shape == cov_2.shape == (size, size):
        raise InputError(
            f"frechet_distance: expected means [F] and covariances [F, F], got {list(mean_1.shape)}, "
            f"{list(cov_1.shape)}, {list(mean_2.shape)} and {list(cov_2.shape)}"
        )
    first, second = cov_1.double(), cov_2.double()
    values, vectors = torch.linalg.eigh(first)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    product = root @ second @ root
    cross = torch.linalg.eigvalsh((product + product.T) / 2).clamp_min(0).sqrt().sum()
    shift = (mean_1.double() - mean_2.double()).square().sum()
    return max(float(shift + first.trace() + second.trace() - 2 * cross), 0.0)
