"""Real data that samples are compared with; what metrics compute of them once is kept in the cache.

A file is keyed by the data's digest, their number, the extractor's identity (which holds the sha256 of its
weights) and the kind of statistic, so that none is ever read for other data or weights.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.data.base import Data, data_digest
from flowprior.data.splits import draw_indices
from flowprior.features.base import FeatureExtractor
from flowprior.storage.digests import settings_digest
from flowprior.storage.tensor_files import cached_tensors

RECIPE = 1
"""Raise it with every change of what is stored."""
SUBSET_SEED = 0


class Reference:
    """One split of a data set.

    Args:
        data: the split.
        split: its name, for descriptions and the cache's files.
    """

    def __init__(self, data: Data, split: str) -> None:
        self.data = data
        self.split = split

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

    def subset(self, count: int) -> tuple[Tensor, Conditions | None]:
        """``count`` events and their conditions, the same at every call; in the labels' proportions."""
        return self.data.batch(self.indices(count))

    def indices(self, count: int) -> Tensor:
        """Which events the :meth:`subset` of ``count`` takes, int64."""
        generator = torch.Generator().manual_seed(SUBSET_SEED)
        return draw_indices(self.data, min(count, len(self)), generator)

    def features(self, extractor: FeatureExtractor, count: int) -> Tensor:
        """Features ``[count, F]`` of the :meth:`subset`."""

        def compute() -> dict[str, Tensor]:
            return {"features": extractor.features(self.subset(count)[0])}

        key = {"count": min(count, len(self)), "extractor": extractor.identity()}
        return self.kept("features", compute, **key)["features"]

    def kept(self, kind: str, compute: Callable[[], dict[str, Tensor]], **key: Any) -> dict[str, Tensor]:
        """What ``compute`` gives, from the cache where it is there.

        Args:
            kind: name of the statistic, which begins the file's name.
            compute: gives it.
            key: what decides it besides the data.
        """
        key = {"recipe": RECIPE, "kind": kind, "data": self.digest, **key}
        described = {"name": self.data.name, "split": self.split, **{k: str(v) for k, v in key.items()}}
        return cached_tensors(f"reference-{kind}-{settings_digest(key)[:24]}", described, compute)
