"""The Fréchet distance between Gaussians fitted to two sets of features, in float64.

d² = ‖m₁ − m₂‖² + tr(C₁) + tr(C₂) − 2 tr((C₁ C₂)^½)      (Dowson & Landau 1982; Heusel et al. 2017)
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.features.base import FeatureExtractor
from flowprior.metrics.base import FeatureMetric, Metric, MetricInfo, as_clouds, per_condition
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


def frechet_distance_of_rows(x: Tensor, y: Tensor) -> float:
    """Return the Fréchet distance between features x ``[N, F]`` and y ``[M, F]``, N and M of any size.

    With A = (x − mean)/(N − 1)^½, so that C = AᵀA, tr((C₁ C₂)^½) is the nuclear norm of A₁ A₂ᵀ. The triangle
    of A = QR takes the place of A if that has more rows than columns. The covariance of a single row is 0.

    Raises:
        InputError: features that do not fit, or are not finite.
    """
    x, y = as_clouds("frechet distance", x, y)
    parts = [(rows - rows.mean(0)) / max(len(rows) - 1, 1) ** 0.5 for rows in (x, y)]
    first, second = (torch.linalg.qr(a, mode="r").R if len(a) > a.shape[1] else a for a in parts)
    cross = torch.linalg.svdvals(first @ second.T).sum()
    shift = (x.mean(0) - y.mean(0)).square().sum()
    return max(float(shift + first.square().sum() + second.square().sum() - 2 * cross), 0.0)


def reference_moments(reference: Reference, extractor: FeatureExtractor) -> dict[str, Tensor]:
    """Return mean and covariance of the features of all real data, cached."""

    def compute() -> dict[str, Tensor]:
        return feature_moments(extractor.features(x) for x, _ in reference.data.batches(1000))

    return reference.kept("covariance", compute, count=len(reference), extractor=extractor.identity())


@Metric.register("fid")
class Frechet(FeatureMetric):
    """The Fréchet distance between features of samples and of all the reference, for each set of features."""

    names = ("fid",)

    def describe(self, setup: Setup, name: str) -> tuple[str, str]:
        return "Fréchet distance", setup.reference.describe()

    def values_of(self, setup: Setup, drawn: Drawn, extractor: FeatureExtractor) -> dict[str, float]:
        ours = feature_moments([drawn.features(extractor)])
        real = reference_moments(setup.reference, extractor)
        return {"fid": frechet_distance(ours["mean"], ours["covariance"], real["mean"], real["covariance"])}

    def compare(self, real: Drawn, generated: Drawn, seed: int = 0) -> dict[str, float]:
        return {"fid": frechet_distance_of_rows(generated.x, real.x)}


@Metric.register("fid-within")
class FrechetWithin(FeatureMetric):
    """The mean over labels of the Fréchet distance between features of samples and of all the reference.

    Only for labelled data; in your own loop, without labels, it is that of all rows.
    """

    names = ("fid-within",)

    def describe(self, setup: Setup, name: str) -> tuple[str, str]:
        return "mean over labels of the Fréchet distance", setup.reference.describe()

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        return super().columns(setup) if setup.is_labelled else {}

    def lacks(self, setup: Setup) -> str:
        return super().lacks(setup) if setup.is_labelled else "labelled data"

    def values_of(self, setup: Setup, drawn: Drawn, extractor: FeatureExtractor) -> dict[str, float]:
        features = setup.reference.features(extractor, len(setup.reference))
        labels = setup.reference.data.conditions(setup.reference.indices(len(features)))
        return self.compare(Drawn(features, labels), Drawn(drawn.features(extractor), drawn.cond))

    def compare(self, real: Drawn, generated: Drawn, seed: int = 0) -> dict[str, float]:
        distances = per_condition(frechet_distance_of_rows, generated.x, generated.cond, real.x, real.cond)
        return {"fid-within": sum(distances.values()) / len(distances)}
