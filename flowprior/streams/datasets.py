"""The map-style PyTorch data sets, such as torchvision's, as data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset, default_collate

from flowprior.conditions import Condition
from flowprior.conditions.condition import MOST_LABELS
from flowprior.errors import InputError
from flowprior.storage.writing import one_line
from flowprior.streams.data import Data
from flowprior.streams.user_tensors import (
    PICTURE_CHANNELS,
    channels_first,
    check_condition,
    check_finite,
    check_picture_range,
    plain_tensor,
    tensor_data,
)

ENOUGH_ITEMS = 16
"""The number of items of a batch from which on its range is checked: fewer may all be bright by chance."""


def data_of_dataset(dataset: Dataset) -> Data:
    """Return a map-style PyTorch data set as data; a ``TensorDataset`` as its tensors.

    Raises:
        InputError: items or tensors that do not fit together or are not finite.
    """
    if not isinstance(dataset, TensorDataset):
        return DatasetData(dataset)
    if len(dataset.tensors) > 2:
        raise InputError(
            f"data: expected a TensorDataset of x, or x and a condition, got {len(dataset.tensors)} tensors"
        )
    return tensor_data(*dataset.tensors)


class DatasetData(Data):
    """A map-style ``torch.utils.data.Dataset`` of x, (x,) or (x, cond); items are read when asked for.

    Items are joined as a DataLoader does. x is ``[*event]``, or an image as bytes or in [-1, 1] with channels
    first or last; cond is a label or an embedding. The number of classes is the length of ``dataset.classes``
    or the largest of ``dataset.targets``; without either, every item is read once to find it.

    Raises:
        InputError: an empty data set, items of another kind or shape, non-finite numbers, labels of 100,000
            and more, or pictures in 0 … 255.
    """

    def __init__(self, dataset: Any, name: str | None = None) -> None:
        self.dataset = dataset
        self.name = name or type(dataset).__name__
        if not len(dataset):
            raise InputError(f"{self.name}: expected a data set with items, got an empty one")
        x, cond = self._read([0])
        if x.dim() < 2 or not x.numel():
            raise InputError(f"{self.name}: expected events [*event] of numbers, got {list(x.shape[1:])}")
        self.event_shape = x.shape[1:]
        names = getattr(dataset, "classes", None)
        self.class_names = None if names is None or cond is None else [str(name) for name in names]
        self.condition = Condition() if cond is None else self._find_condition(cond)
        self._is_shaped = x.dim() == 4 and x.shape[1] in PICTURE_CHANNELS
        self.is_image = self._is_shaped and float(x.abs().max()) <= 1
        if self._is_shaped and bool((x == x.round()).all()):
            check_picture_range(x, self.name)

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        x, cond = (
            None if part is None else part[: len(indices)] for part in self._read(indices.tolist() or [0])
        )
        assert x is not None
        if x.shape[1:] != self.event_shape:
            raise InputError(
                f"{self.name}: expected events {list(self.event_shape)} as the first, got {list(x.shape[1:])}"
            )
        check_finite(x, "x", self.name)
        if self._is_shaped and len(x) >= ENOUGH_ITEMS:
            check_picture_range(x, self.name)
        if self.condition.kind == "none":
            return x, None
        cond = None if cond is None else check_condition(cond, len(x), self.name)
        return x, self.condition.check(cond, self.name)

    def _read(self, indices: list[int]) -> tuple[Tensor, Tensor | None]:
        """Return the data samples float32 ``[B, *event]`` and conditions ``[B, …]`` of one item or more."""
        items = []
        for index in indices:
            try:
                item = self.dataset[index]
            except StopIteration as error:  # any loop on the way would take it for its own end
                raise InputError(
                    f"{self.name}: expected {len(self)} items, got StopIteration at index {index}; raise "
                    "another error in __getitem__, or give the data set its true length"
                ) from error
            parts = item[:2] if isinstance(item, (tuple, list)) else [item]
            items.append([part for part in parts if part is not None])
        try:
            joined = default_collate(items)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise InputError(
                f"{self.name}: expected items of tensors, arrays or numbers that are all alike, got others "
                f"({one_line(error)}); add a transform such as torchvision's ToTensor, or a target_transform"
            ) from error
        x, *cond = (plain_tensor(part, "items", self.name) for part in joined)
        return channels_first(x, self.name), cond[0] if cond else None

    def _find_condition(self, first: Tensor) -> Condition:
        found = Condition.of(check_condition(first, 1, self.name))
        if found.kind != "labels":
            return found
        if self.class_names:
            return Condition("labels", len(self.class_names))
        targets = getattr(self.dataset, "targets", None)
        if targets is None:
            targets = self._read(list(range(len(self))))[1]
        labels = check_condition(torch.as_tensor(targets), len(self), self.name)
        return Condition.of(Condition("labels", MOST_LABELS).check(labels, self.name))
