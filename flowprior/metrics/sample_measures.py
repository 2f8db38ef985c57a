"""Metrics of samples: distances of features, accuracy, distances of clouds, memorisation."""

from __future__ import annotations

from typing import ClassVar

import torch

from flowprior.errors import OptionError
from flowprior.features.base import FeatureExtractor, short_identity
from flowprior.metrics.base import Metric, MetricInfo, SampleMetric
from flowprior.metrics.frechet import FeatureMoments
from flowprior.metrics.kernel import kernel_distance
from flowprior.metrics.manifold import precision_recall
from flowprior.metrics.memorisation import nearest_distances
from flowprior.metrics.setup import Drawn, Setup
from flowprior.metrics.sliced import DIRECTIONS, sliced_wasserstein2_per_condition
from flowprior.metrics.wasserstein import wasserstein2_per_condition


class FeatureMetric(SampleMetric):
    """A figure for each set of features."""

    def lacks(self, setup: Setup) -> str:
        return "features: pass some (--features), or labelled data, whose classifier gives them"

    def _metric(
        self, setup: Setup, extractor: FeatureExtractor, what: str, reference: str, better: str
    ) -> MetricInfo:
        features = extractor.features_name
        own = " of the data set's classifier" if extractor is setup.classifier else ""
        return MetricInfo(
            f"{what} of {features} features{own}",
            setup.samples,
            reference,
            better,
            features=short_identity(extractor),
        )


@Metric.register("fid")
class Frechet(FeatureMetric):
    """Fréchet distance between features of samples and of all the reference, for each set of features."""

    quick: ClassVar[bool] = True

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        reference = setup.reference.describe()
        return {
            f"fid-{e.features_name}": self._metric(setup, e, "Fréchet distance", reference, "lower")
            for e in setup.extractors
        }

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        return {
            f"fid-{e.features_name}": FeatureMoments.of([drawn.features(e)]).distance(
                setup.reference.moments(e)
            )
            for e in setup.extractors
        }


@Metric.register("kid")
class KernelMetric(FeatureMetric):
    """Kernel distance (KID on Inception features): unbiased, mean over subsets, for each set of features.

    Args:
        subsets: how many pairs of random subsets.
        subset_size: rows of each; no more than there are samples.
    """

    quick: ClassVar[bool] = True

    def __init__(self, subsets: int = 100, subset_size: int = 1000) -> None:
        if subsets < 1 or subset_size < 2:
            raise OptionError(f"metric 'kid': subsets={subsets}, subset_size={subset_size} is not possible")
        self.subsets = subsets
        self.subset_size = subset_size

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        what = f"unbiased polynomial MMD² ({self.subsets} subsets of {self._size(setup)})"
        reference = setup.reference.describe(setup.samples)
        return {
            f"kid-{e.features_name}": self._metric(setup, e, what, reference, "lower")
            for e in setup.extractors
        }

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        found = {}
        for extractor in setup.extractors:
            distance = kernel_distance(
                setup.reference.features(extractor, setup.samples),
                drawn.features(extractor),
                subsets=self.subsets,
                subset_size=self._size(setup),
                generator=torch.Generator().manual_seed(setup.seed),
            )
            name = f"kid-{extractor.features_name}"
            found[name] = distance.mean
            if self._size(setup) < setup.samples:  # else all subsets are the same
                found[f"{name}-std"] = distance.std
        return found

    def _size(self, setup: Setup) -> int:
        return min(self.subset_size, setup.samples, len(setup.reference))


@Metric.register("precision-recall", aliases=["prc"])
class Manifold(FeatureMetric):
    """Share of samples on the real manifold and of real data on the samples', for each set of features.

    Args:
        neighbours: each point's ball reaches to this neighbour.
    """

    def __init__(self, neighbours: int = 3) -> None:
        if neighbours < 1:
            raise OptionError(f"metric 'precision-recall': neighbours={neighbours}; choose 1 or more")
        self.neighbours = neighbours

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        reference = setup.reference.describe(setup.samples)
        return {
            f"{name}-{e.features_name}": self._metric(
                setup, e, f"{name} by {self.neighbours} nearest neighbours", reference, "higher"
            )
            for e in setup.extractors
            for name in ("precision", "recall")
        }

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        found = {}
        for extractor in setup.extractors:
            real = setup.reference.features(extractor, setup.samples)
            shares = precision_recall(real, drawn.features(extractor), neighbours=self.neighbours)
            found |= {f"{name}-{extractor.features_name}": value for name, value in shares._asdict().items()}
        return found


@Metric.register("accuracy")
class Accuracy(SampleMetric):
    """Share of samples that the data set's classifier recognises as their condition."""

    quick: ClassVar[bool] = True

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        if setup.classifier is None:
            return {}
        description = "share of samples that the classifier recognises as their condition"
        reference, features = setup.reference.describe(), setup.classifier.describe()
        return {"accuracy": MetricInfo(description, setup.samples, reference, "higher", features=features)}

    def lacks(self, setup: Setup) -> str:
        return "a classifier: the data have no labels, or none was wanted"

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        assert setup.classifier is not None
        assert drawn.cond is not None
        return {"accuracy": setup.classifier.accuracy(drawn.x, drawn.cond)}


@Metric.register("memorisation")
class Memorisation(SampleMetric):
    """Distance of samples to their nearest training example over that of held-out real data; 1 is as new."""

    needs_classifier = False
    real_data = "none"  # a training example's is 0

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        if not setup.has_test:
            return {}
        description = (
            f"mean distance to the nearest of {setup.training.describe()} over that of held-out data; "
            "1 is as far as unseen data, 0 a copy"
        )
        return {
            "memorisation": MetricInfo(description, setup.samples, setup.reference.describe(setup.samples))
        }

    def lacks(self, setup: Setup) -> str:
        return "a test split"

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        held_out = setup.reference.distances_to(setup.training, setup.samples).mean().item()
        if not held_out > 0:
            return {}  # the test split lies in the training split
        nearest = nearest_distances(drawn.x, (x for x, _ in setup.data.batches()))
        return {"memorisation": nearest.mean().item() / held_out}


@Metric.register("w2")
class Wasserstein(SampleMetric):
    """Exact squared 2-Wasserstein distance, averaged over labels, or pooled."""

    quick: ClassVar[bool] = True
    needs_classifier = False

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        description = (
            f"exact squared 2-Wasserstein distance, {scope(setup)}, of at most {setup.points} points each"
        )
        return {"w2_squared": MetricInfo(description, setup.samples, setup.reference.describe(), "lower")}

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        real = setup.real
        distances = wasserstein2_per_condition(drawn.x, drawn.cond, real.x, real.cond, setup.points)
        return {"w2_squared": sum(distances.values()) / len(distances)}


@Metric.register("sliced-w2")
class Sliced(SampleMetric):
    """Sliced squared 2-Wasserstein distance of all samples, averaged over labels, or pooled.

    Args:
        directions: random projections, the same for every label and seed.
    """

    needs_classifier = False

    def __init__(self, directions: int = DIRECTIONS) -> None:
        if directions < 1:
            raise OptionError(f"metric 'sliced-w2': directions={directions}; choose 1 or more")
        self.directions = directions

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        description = (
            f"sliced squared 2-Wasserstein distance over {self.directions} directions, {scope(setup)}"
        )
        reference = setup.reference.describe(len(setup.real.x))
        return {"sliced_w2_squared": MetricInfo(description, setup.samples, reference, "lower")}

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        real = setup.real
        distances = sliced_wasserstein2_per_condition(
            drawn.x, drawn.cond, real.x, real.cond, directions=self.directions
        )
        return {"sliced_w2_squared": sum(distances.values()) / len(distances)}


def scope(setup: Setup) -> str:
    """Over what distances of clouds are taken."""
    return "averaged over labels" if setup.is_labelled else "pooled over conditions"
