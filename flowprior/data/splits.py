"""Which events are taken: train, test and validation splits, draws that follow the labels, and parts as data.

Splits are deterministic. Where events have several conditions, such as a picture with five captions, a data
set can be taken as one event for each condition.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.data.base import Data, Split
from flowprior.errors import InputError, OptionError
from flowprior.registry import choose
from flowprior.storage.digests import tensor_bytes
from flowprior.streams.data import DerivedData

HIGHEST_SEED = 1 << 62
_ROWS = 4096
"""Events whose labels are asked for at once; some data sets read the events with them."""


def split_indices(
    count: int, split: Split, *, test_fraction: float, seed: int = 0, labels: Tensor | None = None
) -> Tensor:
    """Sorted indices int64 of one part; the two parts are disjoint and cover all ``count`` events.

    Args:
        test_fraction: share of the test part, in [0, 1); 0 puts every event into both parts.
        seed: another seed gives another split.
        labels: int64 ``[count]``; each class is then divided by ``test_fraction`` on its own, and a
            class too small for a test example stays whole in the training part.

    Raises:
        OptionError: ``split`` or ``test_fraction`` is not possible.
        InputError: the part would be empty.
    """
    check_split(split)
    check_seed("data", seed)
    check_test_fraction(test_fraction)
    if test_fraction == 0:
        return torch.arange(count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    groups = torch.zeros(count, dtype=torch.long) if labels is None else labels
    is_test = torch.zeros(count, dtype=torch.bool)
    for group in groups.unique().tolist():
        members = order[groups[order] == group]
        is_test[members[: round(test_fraction * len(members))]] = True
    chosen = torch.nonzero(is_test if split == "test" else ~is_test).flatten()
    if not len(chosen):
        raise InputError(
            f"the {split} part of {count} events is empty at test_fraction={test_fraction}; "
            "pass test_fraction=0 to use every event in both parts"
        )
    return chosen


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
        kept, held = _split_groups(data, data.groups, count, seed)
    else:
        options: dict[str, Any] = {"test_fraction": count / len(data), "seed": seed, "labels": _labels(data)}
        try:
            kept, held = (split_indices(len(data), split, **options) for split in ("train", "test"))
        except InputError as error:
            raise OptionError(
                f"validation={count} is not possible: of '{data.name}' it takes less than half an event of "
                "every class, or all but that; hold another number out"
            ) from error
    train = Subset(data, kept, f"{data.name}-train{len(kept)}")
    return train, Subset(data, held, f"{data.name}-validation{len(held)}")


class Subset(DerivedData):
    """Some of a data set's events, in the order of their indices.

    Args:
        data: the whole.
        indices: int64 ``[N]``, those that are kept.
        name: of the part.
    """

    def __init__(self, data: Data, indices: Tensor, name: str) -> None:
        super().__init__(data)
        self.indices, self.name = indices, name
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
        return hashlib.sha256(self.data.fingerprint().encode() + tensor_bytes(self.indices)).hexdigest()

    def training_condition(
        self, indices: Tensor, cond: Conditions | None, chance: Tensor
    ) -> Conditions | None:
        """The conditions that a training step gets for these indices of the part."""
        return self.data.training_condition(self.indices[indices], cond, chance)


def draw_indices(data: Data, count: int, generator: torch.Generator) -> Tensor:
    """Indices int64 ``[count]`` of ``data``, spread evenly over its labels.

    Systematic sampling: every label gets its share of the data set to within one, so a balanced data set
    gives balanced draws. Without replacement where ``count`` allows it.
    """
    total = len(data)
    shuffled = torch.randperm(total, generator=generator)
    labels = labels_of(data)
    order = shuffled if labels is None else shuffled[labels[shuffled].argsort(stable=True)]
    start = torch.rand((), generator=generator, dtype=torch.float64)
    places = (
        ((torch.arange(count, dtype=torch.float64) + start) * (total / count)).long().clamp_max(total - 1)
    )
    return order[places][torch.randperm(count, generator=generator)]


def labels_of(data: Data) -> Tensor | None:
    """Labels int64 ``[N]`` of all of ``data``, in order; None where its condition is another."""
    if data.condition.kind != "labels":
        return None
    parts = (data.conditions(rows) for rows in torch.arange(len(data)).split(_ROWS))
    return torch.cat([labels for labels in parts if isinstance(labels, Tensor)])


def check_split(split: str) -> None:
    """Check that ``split`` is ``"train"`` or ``"test"``.

    Raises:
        OptionError: it is not.
    """
    choose("data", "split", split, ["train", "test"])


def check_seed(owner: str, seed: int) -> None:
    """Check that ``seed`` is a whole number that a random generator takes.

    Raises:
        OptionError: it is not.
    """
    if type(seed) is not int or not 0 <= seed < HIGHEST_SEED:
        raise OptionError(f"{owner}: seed={seed!r} is not possible; give a whole number from 0 to 2**62 - 1")


def check_test_fraction(test_fraction: object) -> None:
    """Check that ``test_fraction`` is a share in [0, 1).

    Raises:
        OptionError: it is not.
    """
    if not isinstance(test_fraction, (int, float)) or not 0 <= test_fraction < 1:
        raise OptionError(f"test_fraction={test_fraction!r} is not possible; give a share in [0, 1)")


def _some(of_events: Tensor | None, indices: Tensor) -> Tensor | None:
    return None if of_events is None else of_events[indices]


def _split_groups(data: Data, groups: Tensor, count: int, seed: int) -> list[Tensor]:
    """Indices of the events that are kept and that are held out.

    These are whole groups, in an order drawn from ``seed``, until ``count`` events are held out.
    """
    names, place, sizes = groups.unique(return_inverse=True, return_counts=True)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    held = torch.zeros(len(names), dtype=torch.bool)
    held[order] = sizes[order].cumsum(0) - sizes[order] < count
    if bool(held.all()):
        raise OptionError(
            f"validation={count} is not possible: the {len(names)} groups of '{data.name}' would all be held "
            "out; hold fewer out"
        )
    return [part.nonzero()[:, 0] for part in (~held[place], held[place])]


def _labels(data: Data) -> Tensor | None:
    """Labels int64 ``[N]``; None where there are none, or where events would have to be read for them."""
    held = getattr(data, "cond", None)
    if isinstance(held, Tensor):
        return None if held.is_floating_point() else held
    return labels_of(data) if type(data).conditions is not Data.conditions else None
