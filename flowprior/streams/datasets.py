"""The map-style PyTorch data sets, such as torchvision's, as data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from flowprior.conditions import Condition
from flowprior.errors import InputError
from flowprior.streams.data import Data
from flowprior.streams.user_tensors import (
    PICTURE_CHANNELS,
    check_condition,
    check_finite,
    check_labels,
    check_picture_range,
    is_array,
    is_channels_last,
    plain_tensor,
    tensor_data,
)

ENOUGH_ITEMS = 16
"""Events of a batch that may be told by their range: fewer may all be bright by chance."""


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

    x is a floating-point tensor ``[*event]``; pictures ``[height, width, channels]`` come out with channels
    first. cond is a label (int or integer tensor) or an embedding ``[E]``. The number of classes is the
    length of ``dataset.classes`` or the largest of ``dataset.targets``; without either, every item is read
    once to find it.

    Raises:
        InputError: an empty data set, items of another kind or shape, non-finite numbers, labels of 100,000
            and more, or pictures in 0 … 255.
    """

    def __init__(self, dataset: Any, name: str | None = None) -> None:
        self.dataset = dataset
        self.name = name or type(dataset).__name__
        if not len(dataset):
            raise InputError(f"{self.name}: expected a data set with items, got an empty one")
        x, cond = self._item(0)
        if not x.dim() or not x.numel():
            raise InputError(f"{self.name}: expected events [*event] of numbers, got {list(x.shape)}")
        self.event_shape = x.shape
        names = getattr(dataset, "classes", None)
        self.class_names = None if names is None or cond is None else [str(name) for name in names]
        self.condition = self._find_condition(cond)
        self._is_shaped = x.dim() == 3 and x.shape[0] in PICTURE_CHANNELS
        self.is_image = self._is_shaped and float(x.abs().max()) <= 1
        if self._is_shaped and bool((x == x.round()).all()):
            check_picture_range(x[None], self.name)

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        if not len(indices):
            shape = () if self.condition.kind == "labels" else self.condition.event_shape
            none = torch.empty(0, *shape, dtype=None if shape else torch.long)
            return torch.empty(0, *self.event_shape), None if self.condition.kind == "none" else none
        items = [self._item(index) for index in indices.tolist()]
        for event, _ in items:
            if event.shape != self.event_shape:
                raise InputError(
                    f"{self.name}: expected events of shape {list(self.event_shape)} as the first, got "
                    f"{list(event.shape)}; crop or scale them to one size"
                )
        x = torch.stack([event for event, _ in items])
        check_finite(x, "x", self.name)
        if self._is_shaped and len(x) >= ENOUGH_ITEMS:
            check_picture_range(x, self.name)
        if self.condition.kind == "none":
            return x, None
        cond = check_condition(self._stacked([cond for _, cond in items]), len(x), self.name)
        return x, self.condition.check(cond, self.name)

    def _stacked(self, conditions: list[Tensor | None]) -> Tensor:
        """One row for each item: a label, or numbers in their own shape."""
        found = [
            torch.atleast_1d(cond) if cond.is_floating_point() else cond
            for cond in conditions
            if cond is not None
        ]
        shapes = {tuple(cond.shape) for cond in found}
        if len(found) != len(conditions) or len(shapes) != 1:
            kinds = sorted({f"{cond.dtype} {list(cond.shape)}" for cond in conditions if cond is not None})
            raise InputError(
                f"{self.name}: expected a condition of one kind with every item, got {' and '.join(kinds)}"
                f"{' and none' if len(found) != len(conditions) else ''}; make them all alike"
            )
        return torch.stack(found)

    def _item(self, index: int) -> tuple[Tensor, Tensor | None]:
        try:
            item = self.dataset[index]
        except StopIteration as error:  # any loop on the way would take it for its own end
            raise InputError(
                f"{self.name}: expected {len(self)} items, got StopIteration at index {index}; raise another "
                "error in __getitem__, or give the data set its true length"
            ) from error
        x, cond = (*item, None)[:2] if isinstance(item, (tuple, list)) else (item, None)
        if not isinstance(x, Tensor) or not x.is_floating_point():
            got = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise InputError(
                f"{self.name}: expected floating-point tensors as events, got {got} at index {index}; "
                "add a transform such as torchvision's ToTensor"
            )
        x = plain_tensor(x, f"event {index}", self.name).float()
        if x.dim() == 3 and is_channels_last(x.shape):
            x = x.permute(2, 0, 1)
        return x, None if cond is None else self._condition_of(cond, index)

    def _condition_of(self, cond: Any, index: int) -> Tensor:
        if isinstance(cond, (bool, int, float)):
            cond = torch.tensor(cond) if abs(cond) < 1 << 62 else cond
        if not is_array(cond):
            raise InputError(
                f"{self.name}: expected a label or a tensor as condition, got {type(cond).__name__} at index "
                f"{index}; add a target_transform"
            )
        return plain_tensor(cond, f"condition {index}", self.name)

    def _find_condition(self, first: Tensor | None) -> Condition:
        if first is None:
            return Condition()
        if first.is_floating_point():
            return Condition.of_shape(first.shape or (1,))
        if self.class_names:
            return Condition("labels", len(self.class_names))
        targets = getattr(self.dataset, "targets", None)
        if targets is None:
            targets = self._stacked([cond for _, cond in map(self._item, range(len(self)))])
        labels = torch.as_tensor(targets).reshape(-1)
        check_labels(labels, self.name)
        return Condition("labels", int(labels.max()) + 1)
