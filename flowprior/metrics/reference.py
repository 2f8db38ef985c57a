"""Statistics of real data under a feature extractor, computed once and kept in the cache.

A file is keyed by the data's digest, their number, the extractor's identity (which holds the sha256 of its
weights) and the kind of statistic, so that none is ever read for other data or weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowprior.data.base import Data, data_digest
from flowprior.data.proportions import draw_indices
from flowprior.errors import CheckpointError
from flowprior.features.base import FeatureExtractor
from flowprior.features.classifier_training import cache_folder
from flowprior.metrics.frechet import FeatureMoments
from flowprior.metrics.memorisation import nearest_distances
from flowprior.storage import load_tensors, save_tensors
from flowprior.storage.digests import settings_digest

RECIPE = 1
"""Raise it with every change of what is stored."""
SUBSET_SEED = 0


class Reference:
    """Real data, and what extractors make of them.

    Args:
        data: one split of a data set.
        split: its name, for descriptions and the cache's files.
        cache: whether to look for statistics on the disk and leave them there.
    """

    def __init__(self, data: Data, split: str, *, cache: bool = True) -> None:
        self.data = data
        self.split = split
        self.cache = cache

    def __len__(self) -> int:
        return len(self.data)

    @cached_property
    def digest(self) -> str:
        """sha256 of the data."""
        return data_digest(self.data)

    def describe(self, count: int | None = None) -> str:
        """Size, split and name, as in ``2000 of 10000 test examples of fashion-mnist``."""
        size = f"{len(self)}" if count is None or count >= len(self) else f"{count} of {len(self)}"
        return f"{size} {self.split} examples of {self.data.name}"

    def moments(self, extractor: FeatureExtractor) -> FeatureMoments:
        """Mean and covariance of the features of all of it."""
        key = {"count": len(self), "extractor": extractor.identity()}
        tensors = self._kept("moments", key, lambda: self._moments(extractor))
        return FeatureMoments(len(self), tensors["mean"], tensors["scatter"])

    def features(self, extractor: FeatureExtractor, count: int) -> Tensor:
        """Features ``[count, F]`` of a subset, the same at every call; in its labels' proportions."""
        count = min(count, len(self))
        key = {"count": count, "extractor": extractor.identity()}
        return self._kept("features", key, lambda: self._features(extractor, count))["features"]

    def distances_to(self, training: Reference, count: int) -> Tensor:
        """Distances ``[count]`` of the subset to their nearest neighbours in ``training``."""
        count = min(count, len(self))
        key = {"count": count, "training": training.digest if self.cache else ""}
        return self._kept("distances", key, lambda: self._distances(training, count))["distances"]

    def subset(self, count: int) -> tuple[Tensor, Tensor | None]:
        """The events and conditions behind :meth:`features`."""
        generator = torch.Generator().manual_seed(SUBSET_SEED)
        return self.data.batch(draw_indices(self.data, min(count, len(self)), generator))

    def _moments(self, extractor: FeatureExtractor) -> dict[str, Tensor]:
        moments = FeatureMoments.of(extractor.features(x) for x, _ in self.data.batches(1000))
        assert moments.mean is not None
        assert moments.scatter is not None
        return {"mean": moments.mean, "scatter": moments.scatter}

    def _features(self, extractor: FeatureExtractor, count: int) -> dict[str, Tensor]:
        return {"features": extractor.features(self.subset(count)[0])}

    def _distances(self, training: Reference, count: int) -> dict[str, Tensor]:
        neighbours = (x for x, _ in training.data.batches())
        return {"distances": nearest_distances(self.subset(count)[0], neighbours)}

    def _kept(
        self, kind: str, key: dict[str, Any], compute: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """What ``compute`` gives, from the cache where it is there."""
        if not self.cache:
            return compute()
        key = {"recipe": RECIPE, "kind": kind, "data": self.digest, **key}
        path = cache_folder() / f"reference-{kind}-{settings_digest(key)[:24]}.safetensors"
        found = _read(path)
        if found is None:
            found = compute()
            described = {"name": self.data.name, "split": self.split}
            _write(path, found, described | {name: str(value) for name, value in key.items()})
        return found


def _read(path: Path) -> dict[str, Tensor] | None:
    if not path.is_file():
        return None
    try:
        return load_tensors(path)[0]
    except CheckpointError as error:
        warnings.warn(f"cached statistics {path} are computed anew: {error}", RuntimeWarning, stacklevel=4)
        return None


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    try:
        save_tensors(path, tensors, metadata)
    except CheckpointError as error:
        warnings.warn(f"statistics of real data are not cached: {error}", RuntimeWarning, stacklevel=4)
