"""The figures of one set of samples, against real data that are prepared once."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.data.base import Data
from flowprior.errors import InputError
from flowprior.evaluation.classifier import Classifier
from flowprior.evaluation.conditions import draw_indices
from flowprior.evaluation.frechet import FeatureMoments
from flowprior.evaluation.result import Metric
from flowprior.evaluation.settings import describe_reference
from flowprior.evaluation.wasserstein import wasserstein2_per_condition

PER_CONDITION = 500
POOLED = 2000


class Measures:
    """Computes every metric that the data allow.

    Labelled data: ``fid-…`` and ``accuracy`` by the classifier, ``w2_squared`` averaged over labels. Other
    data: ``w2_squared`` of everything pooled.

    Args:
        data: the training split; as many of its samples give each metric's floor.
        reference: what to compare with; all of it for the Fréchet distance.
        cond: the conditions that samples are generated for.
        samples: how many.
        classifier: judge of labelled data, or None.
        generator: picks the real samples to compare with.
    """

    def __init__(
        self,
        data: Data,
        reference: Data,
        cond: Tensor | None,
        samples: int,
        classifier: Classifier | None,
        generator: torch.Generator,
    ) -> None:
        self.cond = cond
        self.classifier = classifier
        self.is_image = data.is_image
        self.is_labelled = reference.condition.kind == "labels"
        self.points = PER_CONDITION if self.is_labelled else POOLED
        size = len(reference) if self.is_labelled else min(POOLED, len(reference))
        self.real, self.real_cond = reference.batch(draw_indices(reference, size, generator))
        self.moments = None if classifier is None else self._moments(self.real)
        self.metrics: dict[str, Metric] = {}
        self.notes: list[str] = []
        if reference is data:
            self.notes.append("no test split: samples are compared with the training data themselves")
            floors: dict[str, float] = {}
        else:
            x, labels = data.batch(draw_indices(data, samples, generator))
            floors = self._figures(x, labels)
        self._describe(floors, samples, describe_reference(data, reference))

    def of(self, x: Tensor) -> dict[str, float]:
        """Every metric of generated samples ``[N, *event]``, in the order of the conditions.

        Raises:
            InputError: samples that are not finite.
        """
        bad = int((~torch.isfinite(x)).flatten(1).any(1).sum())
        if bad:
            raise InputError(
                f"evaluate: {bad} of {len(x)} generated samples have NaN or infinite numbers; "
                "the flow has diverged, train it with a smaller learning rate"
            )
        return self._figures(x.clamp(-1, 1) if self.is_image else x, self.cond)

    def _figures(self, x: Tensor, cond: Tensor | None) -> dict[str, float]:
        x, figures = x.float().cpu(), {}
        if self.classifier is not None and self.moments is not None and cond is not None:
            figures[f"fid-{self.classifier.features_name}"] = self._moments(x).distance(self.moments)
            figures["accuracy"] = self.classifier.accuracy(x, cond)
        distances = wasserstein2_per_condition(x, cond, self.real, self.real_cond, self.points)
        figures["w2_squared"] = sum(distances.values()) / len(distances)
        return figures

    def _moments(self, x: Tensor) -> FeatureMoments:
        assert self.classifier is not None
        return FeatureMoments.of(self.classifier.features(part) for part in x.split(1000))

    def _describe(self, floors: dict[str, float], samples: int, reference: str) -> None:
        if self.classifier is not None:
            name = self.classifier.features_name
            self.metrics[f"fid-{name}"] = Metric(
                f"Fréchet distance of {name} features of the data set's classifier",
                samples,
                reference,
                "lower",
                floors.get(f"fid-{name}"),
            )
            self.metrics["accuracy"] = Metric(
                "share of samples that the classifier recognises as their condition",
                samples,
                reference,
                "higher",
                floors.get("accuracy"),
            )
        scope = "averaged over labels" if self.is_labelled else "pooled over conditions"
        self.metrics["w2_squared"] = Metric(
            f"exact squared 2-Wasserstein distance, {scope}, of at most {self.points} points each",
            samples,
            reference,
            "lower",
            floors.get("w2_squared"),
        )
