"""The share of samples that the data set's classifier recognises as their condition."""

from __future__ import annotations

from flowprior.features.base import short_identity
from flowprior.metrics.base import Metric, MetricInfo, SampleMetric
from flowprior.metrics.setup import Drawn, Setup


@Metric.register("accuracy")
class Accuracy(SampleMetric):
    """Share of samples that the data set's classifier recognises as their condition."""

    needs_classifier = True
    names = ("accuracy",)

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        if setup.classifier is None or not setup.is_labelled:
            return {}
        description = "share of samples that the classifier recognises as their condition"
        reference, features = setup.reference.describe(), short_identity(setup.classifier)
        return {"accuracy": MetricInfo(description, setup.samples, reference, "higher", features=features)}

    def lacks(self, setup: Setup) -> str:
        return "a classifier: the data have no labels, or none was wanted"

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        assert setup.classifier is not None
        return {"accuracy": setup.classifier.accuracy(drawn.x, drawn.labels)}
