"""PyTorch data sets, such as torchvision's, as flowprior data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Condition
from flowprior.data.base import Data
from flowprior.data.tensors import PICTURE_CHANNELS, check_condition, check_finite
from flowprior.errors import InputError


class DatasetData(Data):
    """A map-style ``torch.utils.data.Dataset`` of x, (x,) or (x, cond); items are read when asked for.

    x is a floating-point tensor ``[*event]``; cond a label (int or integer tensor) or an embedding
    ``[E]``. The number of classes is the length of ``dataset.classes`` or the largest of
    ``dataset.targets``; without either, every item is read once to find it.

    Raises:
        InputError: an empty data set, items of another kind, or non-finite numbers.
    """

    def __init__(self, dataset: Any, name: str | None = None) -> None:
        self.dataset = dataset
        self.name = name or type(dataset).__name__
        if not len(dataset):
            raise InputError(f"{self.name}: expected a data set with items, got an empty one")
        x, cond = self._item(0)
        self.event_shape = x.shape
        names = getattr(dataset, "classes", None)
        self.class_names = None if names is None or cond is None else [str(name) for name in names]
        self.condition = self._find_condition(cond)
        in_range = float(x.abs().max()) <= 1
        self.is_image = x.dim() == 3 and x.shape[0] in PICTURE_CHANNELS and in_range

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        items = [self._item(index) for index in indices.tolist()]
        x = torch.stack([event for event, _ in items])
        check_finite(x, "x", self.name)
        if self.condition.kind == "none":
            return x, None
        cond = torch.stack([cond for _, cond in items if cond is not None])
        return x, check_condition(cond, len(x), self.name)

    def _item(self, index: int) -> tuple[Tensor, Tensor | None]:
        item = self.dataset[index]
        x, cond = (*item, None)[:2] if isinstance(item, (tuple, list)) else (item, None)
        if not isinstance(x, Tensor) or not x.is_floating_point():
            got = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise InputError(
                f"{self.name}: expected floating-point tensors as events, got {got} at index {index}; "
                "add a transform such as torchvision's ToTensor"
            )
        return x.float(), None if cond is None else torch.as_tensor(cond)

    def _find_condition(self, first: Tensor | None) -> Condition:
        if first is None:
            return Condition()
        if first.is_floating_point():
            return Condition("embeddings", first.numel())
        if self.class_names:
            return Condition("labels", len(self.class_names))
        targets = getattr(self.dataset, "targets", None)
        if targets is None:
            targets = [int(cond) for _, cond in map(self._item, range(len(self))) if cond is not None]
        return Condition("labels", int(torch.as_tensor(targets).max()) + 1)
