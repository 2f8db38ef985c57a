"""The Fréchet distance between Gaussians fitted to two sets of features, in float64.

d² = ‖m₁ − m₂‖² + tr(C₁) + tr(C₂) − 2 tr((C₁ C₂)^½)      (Dowson & Landau 1982; Heusel et al. 2017)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.features.base import FeatureExtractor
from flowprior.metrics.base import FeatureMetric, Metric
from flowprior.metrics.setup import Drawn, Reference, Setup
from flowprior.mixtures.moments import ConditionMoments

AT_ONCE = 1000
"""The number of rows whose outer products are summed at once."""


class FeatureMoments(NamedTuple):
    """The number of rows of features, their mean ``[F]``, and their scatter ``[F, F]``, in float64.

    The scatter is the sum of the outer products of the deviations from the mean.
    """

    count: int  # pyright: ignore[reportIncompatibleMethodOverride]
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, batches: Iterable[Tensor]) -> FeatureMoments:
        """Return the moments of every row of ``batches``, each ``[B, F]``.

        Raises:
            InputError: not a matrix, or non-finite values.
        """
        parts = (part for batch in batches for part in _checked(batch).split(AT_ONCE))
        moments = ConditionMoments.over(((part, None) for part in parts), 1, full=True)
        return cls(int(moments.count[0]), moments.mean[0], moments.scatter[0])

    def covariance(self) -> Tensor:
        """Return the unbiased covariance ``[F, F]``.

        Raises:
            InputError: fewer than two rows were seen.
        """
        if self.count < 2:
            raise InputError(f"FeatureMoments: a covariance needs at least 2 rows, got {self.count}")
        return self.scatter / (self.count - 1)

    def distance(self, other: FeatureMoments) -> float:
        """Return the Fréchet distance to ``other``."""
        return frechet_distance(self.mean, self.covariance(), other.mean, other.covariance())


def _checked(features: Tensor) -> Tensor:
    if features.dim() != 2 or not torch.isfinite(features).all():
        raise InputError(f"FeatureMoments: expected finite features [B, F], got {list(features.shape)}")
    return features


def frechet_distance(mean_1: Tensor, cov_1: Tensor, mean_2: Tensor, cov_2: Tensor) -> float:
    """Return the squared 2-Wasserstein distance ≥ 0 between N(mean_1, cov_1) and N(mean_2, cov_2).

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
    product = root @ second @ root  # symmetric: its roots are real for singular covariances too
    cross = torch.linalg.eigvalsh((product + product.T) / 2).clamp_min(0).sqrt().sum()
    shift = (mean_1.double() - mean_2.double()).square().sum()
    return max(float(shift + first.trace() + second.trace() - 2 * cross), 0.0)


def reference_moments(reference: Reference, extractor: FeatureExtractor) -> FeatureMoments:
    """Return mean and covariance of the features of all real data, cached."""

    def compute() -> dict[str, Tensor]:
        moments = FeatureMoments.of(extractor.features(x) for x, _ in reference.data.batches(1000))
        return {"mean": moments.mean, "scatter": moments.scatter}

    count, identity = len(reference), extractor.identity()
    return FeatureMoments(count, **reference.kept("moments", compute, count=count, extractor=identity))


@Metric.register("fid")
class Frechet(FeatureMetric):
    """The Fréchet distance between features of samples and of all the reference, for each set of features.

    In your own loop it keeps means and covariances, not the batches.
    """

    quick = True
    names = ("fid",)

    def describe(self, setup: Setup, name: str) -> tuple[str, str]:
        return "Fréchet distance", setup.reference.describe()

    def values_of(self, setup: Setup, drawn: Drawn, extractor: FeatureExtractor) -> dict[str, float]:
        moments = FeatureMoments.of([drawn.features(extractor)])
        return {"fid": moments.distance(reference_moments(setup.reference, extractor))}

    def compare(self, real: Drawn, generated: Drawn, seed: int = 0) -> dict[str, float]:
        return {"fid": FeatureMoments.of([generated.x]).distance(FeatureMoments.of([real.x]))}
