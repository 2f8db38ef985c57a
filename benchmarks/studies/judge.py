"""Judge generated samples by several features at once, against several reference sets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.studies.judge_weights import judge_of
from benchmarks.studies.validation import everything
from flowprior.data import Data
from flowprior.features.base import FEATURES, FeatureExtractor
from flowprior.metrics import FeatureMoments
from flowprior.metrics.kernel import polynomial_mmd2

KERNEL_ROWS = 2000
"""At most this many rows of each side go into the kernel distance, whose cost grows with their square."""
Figures = dict[str, float]


@dataclass(frozen=True)
class Known:
    """What is kept of one reference set under one extractor."""

    moments: FeatureMoments
    rows: Tensor


class Judge:
    """Feature-FID under each extractor, KID under the ImageNet features, class accuracy.

    Args:
        train: what the classifier was trained on (see ``judge_weights``), and where the floor is taken from.
        references: name -> real data that samples are compared with.
        samples: how many of ``train`` the floor is taken from.
        with_lite0: also by EfficientNet-Lite0, for pictures.
    """

    def __init__(
        self, train: Data, references: dict[str, Data], samples: int, with_lite0: bool = True
    ) -> None:
        self.classifier = judge_of(train)
        self.extractors: list[FeatureExtractor] = [self.classifier]
        if with_lite0:
            self.extractors.append(FEATURES.create("lite0"))
        self.references = {name: self._known(everything(data)[0]) for name, data in references.items()}
        self.sizes = {name: len(data) for name, data in references.items()}
        floor, labels = train.batch(torch.arange(min(samples, len(train))))
        self.floor = self.figures(floor, labels)

    @property
    def identities(self) -> list[str]:
        """The extractors with the digests of their weights: figures of others are not comparable."""
        return [extractor.identity() for extractor in self.extractors]

    def figures(self, x: Tensor, labels: Tensor | None, kernel: bool = True) -> dict[str, Figures]:
        """reference -> figures of samples x ``[N, *event]``.

        Args:
            x: pictures, clamped to [-1, 1] as the data are, or other events as they are.
            labels: what they were meant to be; None leaves the accuracy out.
            kernel: also the kernel distance.
        """
        x = x.clamp(-1, 1) if x.dim() == 4 else x
        shared = {} if labels is None else {"accuracy": self.classifier.accuracy(x, labels)}
        found = {name: dict(shared) for name in self.references}
        for extractor in self.extractors:
            features = extractor.features(x)
            moments = FeatureMoments.of([features])
            for name, known in self.references.items():
                own = known[extractor.features_name]
                found[name][f"fid-{extractor.features_name}"] = moments.distance(own.moments)
                if kernel and extractor is not self.classifier:
                    distance = polynomial_mmd2(features[:KERNEL_ROWS], own.rows)
                    found[name][f"kid-{extractor.features_name}"] = distance
        return found

    def _known(self, x: Tensor) -> dict[str, Known]:
        known = {}
        for extractor in self.extractors:
            features = extractor.features(x)
            order = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))
            rows = features[order[:KERNEL_ROWS]]
            known[extractor.features_name] = Known(FeatureMoments.of([features]), rows)
        return known
