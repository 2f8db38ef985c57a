"""Some of a data set's events, and how a part is held out of the training split."""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.data.base import Data
from flowprior.data.splits import labels_of, split_indices
from flowprior.errors import InputError, OptionError
from flowprior.storage.digests import tensor_bytes


class Subset(Data):
    """Some of a data set's events, in the order of their indices.

    Args:
        data: the whole.
        indices: int64 ``[N]``, those that are kept.
        name: of the part.
    """

    def __init__(self, data: Data, indices: Tensor, name: str) -> None:
        for attribute in inspect.get_annotations(Data):
            setattr(self, attribute, getattr(data, attribute))
        self.data, self.indices, self.name = data, indices, name
        self.spec = None  # no name reads a part
        captions = data.captions
        self.captions = None if captions is None else [captions[int(index)] for index in indices]
        self.caption_ids = None  # those of the whole are in any order
        self.condition_counts = _some(data.condition_counts, indices)
        self.groups = _some(data.groups, indices)
        self.look_alikes = _some(data.look_alikes, indices)

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, indices: Tensor) -> tuple[Tensor, Conditions | None]:
        """The events ``[B, *event]`` and conditions of these indices of the part."""
        return self.data.batch(self.indices[indices])

    def conditions(self, indices: Tensor) -> Conditions | None:
        """The conditions alone of these indices of the part."""
        return self.data.conditions(self.indices[indices])

    def caption_embeddings(self, indices: Tensor) -> Tensor | None:
        """Embeddings ``[B, E]`` of the captions of these indices of the part."""
        return self.data.caption_embeddings(self.indices[indices])

    def fingerprint(self) -> str:
        """Which events these are: that of the whole, and the indices."""
        whole = hashlib.sha256(self.data.fingerprint().encode())
        whole.update(tensor_bytes(self.indices))
        return whole.hexdigest()

    def scorer_split(self) -> Data | None:
        """That of the whole."""
        return self.data.scorer_split()

    def training_condition(
        self, indices: Tensor, cond: Conditions | None, chance: Tensor
    ) -> Conditions | None:
        """The conditions that a training step gets for these indices of the part."""
        return self.data.training_condition(self.indices[indices], cond, chance)


def _some(of_events: Tensor | None, indices: Tensor) -> Tensor | None:
    return None if of_events is None else of_events[indices]


def split_validation(data: Data, count: int, seed: int = 0) -> tuple[Subset, Subset]:
    """(training part, validation part of about ``count`` events); disjoint, the same for one ``seed``.

    Each class gives its share where the data set tells its labels without reading its events. Of events in
    groups, whole groups are held out.

    Raises:
        OptionError: ``count`` is not below the number of events, or so small that no class gives one.
    """
    if not 0 < count < len(data):
        raise OptionError(
            f"validation={count} is not possible: '{data.name}' has {len(data)} events; hold fewer out"
        )
    if data.groups is not None:
        return _split_groups(data, data.groups, count, seed)
    options: dict[str, Any] = {"test_fraction": count / len(data), "seed": seed, "labels": _labels(data)}
    try:
        kept, held = (split_indices(len(data), split, **options) for split in ("train", "test"))
    except InputError as error:
        raise OptionError(
            f"validation={count} is not possible: of '{data.name}' it takes less than half an event of every "
            "class, or all but that; hold another number out"
        ) from error
    train = Subset(data, kept, f"{data.name}-train{len(kept)}")
    return train, Subset(data, held, f"{data.name}-validation{len(held)}")


def _split_groups(data: Data, groups: Tensor, count: int, seed: int) -> tuple[Subset, Subset]:
    """Whole groups, in an order drawn from ``seed``, until ``count`` events are held out."""
    names, place, sizes = groups.unique(return_inverse=True, return_counts=True)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    held = torch.zeros(len(names), dtype=torch.bool)
    held[order] = sizes[order].cumsum(0) - sizes[order] < count
    if bool(held.all()):
        raise OptionError(
            f"validation={count} is not possible: the {len(names)} groups of '{data.name}' would all be held "
            "out; hold fewer out"
        )
    parts = [part.nonzero()[:, 0] for part in (~held[place], held[place])]
    train = Subset(data, parts[0], f"{data.name}-train{len(parts[0])}")
    return train, Subset(data, parts[1], f"{data.name}-validation{len(parts[1])}")


def _labels(data: Data) -> Tensor | None:
    """Labels int64 ``[N]``; None where there are none, or where events would have to be read for them."""
    held = getattr(data, "cond", None)
    if isinstance(held, Tensor):
        return None if held.is_floating_point() else held
    return labels_of(data) if type(data).conditions is not Data.conditions else None
