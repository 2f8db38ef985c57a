"""The Fréchet distance between Gaussians fitted to two sets of features, in float64.

d² = ‖m₁ − m₂‖² + tr(C₁) + tr(C₂) − 2 tr((C₁ C₂)^½)      (Dowson & Landau 1982; Heusel et al. 2017)
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.features.base import FeatureExtractor
from flowprior.metrics.base import FeatureMetric, Metric
from flowprior.metrics.setup import Drawn, Reference, Setup
from flowprior.mixtures.moments import ConditionMoments

AT_ONCE = 1000
"""The number of rows whose outer products are summed at once."""


def feature_moments(batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Return ``mean`` ``[F]`` and unbiased ``covariance`` ``[F, F]``, float64, of batches of rows ``[B, F]``.

    Raises:
        InputError: no matrix, numbers that are not finite, or fewer than two rows.
    """
    parts = (part for batch in batches for part in _checked(batch).split(AT_ONCE))
    moments = ConditionMoments.over(((part, None) for part in parts), 1, full=True)
    count = int(moments.count[0])
    if count < 2:
        raise InputError(f"feature moments: expected 2 rows or more for a covariance, got {count}")
    return {"mean": moments.mean[0], "covariance": moments.scatter[0] / (count - 1)}


def _checked(features: Tensor) -> Tensor:
    if features.dim() != 2 or not torch.isfinite(features).all():
        raise InputError(f"feature moments: expected finite features [B, F], got {list(features.shape)}")
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


def reference_moments(reference: Reference, extractor: FeatureExtractor) -> dict[str, Tensor]:
    """Return mean and covariance of the features of all real data, cached."""

    def compute() -> dict[str, Tensor]:
        return feature_moments(extractor.features(x) for x, _ in reference.data.batches(1000))

    return reference.kept("covariance", compute, count=len(reference), extractor=extractor.identity())


def _distance(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    return frechet_distance(first["mean"], first["covariance"], second["mean"], second["covariance"])


@Metric.register("fid")
class Frechet(FeatureMetric):
    """The Fréchet distance between features of samples and of all the reference, for each set of features."""

    names = ("fid",)

    def describe(self, setup: Setup, name: str) -> tuple[str, str]:
        return "Fréchet distance", setup.reference.describe()

    def values_of(self, setup: Setup, drawn: Drawn, extractor: FeatureExtractor) -> dict[str, float]:
        ours = feature_moments([drawn.features(extractor)])
        return {"fid": _distance(ours, reference_moments(setup.reference, extractor))}

    def compare(self, real: Drawn, generated: Drawn, seed: int = 0) -> dict[str, float]:
        return {"fid": _distance(feature_moments([generated.x]), feature_moments([real.x]))}
