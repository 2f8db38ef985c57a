"""A validation split of the training data, for choosing a setting while the test split is left alone."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.data import Data, split_indices


class Subset(Data):
    """Some of a data set's events, in the order of their indices.

    Args:
        data: the whole.
        indices: int64 ``[N]``, those that are kept.
        name: of the part.
    """

    def __init__(self, data: Data, indices: Tensor, name: str) -> None:
        self.data, self.indices, self.name = data, indices, name
        self.condition = data.condition
        self.event_shape = data.event_shape
        self.is_image = data.is_image
        self.class_names = data.class_names

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.data.batch(self.indices[indices])


def split_validation(data: Data, count: int, seed: int = 0) -> tuple[Subset, Subset]:
    """(training part, validation part of about ``count`` events); disjoint, the same for one ``seed``.

    Each class gives its share where the data set holds its labels in memory.
    """
    labels = getattr(data, "cond", None)
    labels = labels if isinstance(labels, Tensor) and not labels.is_floating_point() else None
    options = {"test_fraction": count / len(data), "seed": seed, "labels": labels}
    kept = split_indices(len(data), "train", **options)
    held = split_indices(len(data), "test", **options)
    return Subset(data, kept, f"{data.name}-train{len(kept)}"), Subset(
        data, held, f"{data.name}-validation{len(held)}"
    )


def everything(data: Data) -> tuple[Tensor, Tensor | None]:
    """All events and conditions of ``data``."""
    return data.batch(torch.arange(len(data)))
