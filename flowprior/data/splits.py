"""The splits of data sets into train, test and validation, random draws balanced by label, and subsets.

A split is determined by its seed.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.data.base import Data, Split
from flowprior.errors import InputError, OptionError
from flowprior.registry.options import choose
from flowprior.storage.digests import tensor_bytes
from flowprior.streams.data import DerivedData

HIGHEST_SEED = 1 << 62
"""The number that every seed of a data set has to be below."""
_ROWS = 4096
"""The number of labels that are asked for at once; some data sets read the data samples with them."""


def split_indices(
    count: int, split: Split, *, test_fraction: float, seed: int = 0, labels: Tensor | None = None
) -> Tensor:
    """Return the sorted indices int64 of one split; the two splits are disjoint and cover all data samples.

    Args:
        count: the number of data samples.
        split: ``"train"`` or ``"test"``.
        test_fraction: the fraction in the test split, in [0, 1); 0 puts everything into both splits.
        seed: the seed of the split.
        labels: int64 ``[count]``; each class is then divided separately, and a class that is too small for
            a test sample stays in the training split.

    Raises:
        OptionError: ``split`` or ``test_fraction`` is not possible.
        InputError: the split would be empty.
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
            f"the {split} split of {count} data samples is empty at test_fraction={test_fraction}; "
            "pass test_fraction=0 to use all of them in both splits"
        )
    return chosen


def split_validation(data: Data, count: int, seed: int = 0) -> tuple[Subset, Subset]:
    """Split training data into a training part and a validation part of about ``count`` data samples.

    Each class gives the same fraction, unless labels cannot be read without the data samples. Groups of data
    samples (:attr:`Data.groups`) are held out as wholes.

    Raises:
        OptionError: ``count`` is not below the number of data samples, or too small for any class.
    """
    if not 0 < count < len(data):
        raise OptionError(
            f"validation={count} is not possible: '{data.name}' has {len(data)} data samples; give fewer"
        )
    if data.groups is not None:
        kept, held = _split_groups(data, data.groups, count, seed)
    else:
        options: dict[str, Any] = {"test_fraction": count / len(data), "seed": seed, "labels": _labels(data)}
        try:
            kept, held = (split_indices(len(data), split, **options) for split in ("train", "test"))
        except InputError as error:
            raise OptionError(
                f"validation={count} is not possible: it takes none or all of every class of '{data.name}'; "
                "give another number"
            ) from error
    train = Subset(data, kept, f"{data.name}-train{len(kept)}")
    return train, Subset(data, held, f"{data.name}-validation{len(held)}")


class Subset(DerivedData):
    """A part of a data set, by the indices of its data samples.

    Args:
        data: the whole data set.
        indices: int64 ``[N]``, the indices of the part.
        name: the name of the part.
    """

    def __init__(self, data: Data, indices: Tensor, name: str) -> None:
        super().__init__(data)
        self.indices, self.name = indices, name
        captions = data.captions
        self.captions = None if captions is None else [captions[int(index)] for index in indices]
        self.caption_ids = None  # The ids of the whole are in no order.
        self.condition_counts = _some(data.condition_counts, indices)
        self.groups = _some(data.groups, indices)
        self.look_alikes = _some(data.look_alikes, indices)

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, indices: Tensor) -> tuple[Tensor, Conditions | None]:
        """Return the data samples ``[B, *event]`` and conditions of these indices of the part."""
        return self.data.batch(self.indices[indices])

    def conditions(self, indices: Tensor) -> Conditions | None:
        """Return the conditions of these indices of the part."""
        return self.data.conditions(self.indices[indices])

    def caption_embeddings(self, indices: Tensor) -> Tensor | None:
        """Return the embeddings ``[B, E]`` of the captions of these indices of the part."""
        return self.data.caption_embeddings(self.indices[indices])

    def fingerprint(self) -> str:
        """Return the sha256 over the fingerprint of the whole data set and the indices."""
        return hashlib.sha256(self.data.fingerprint().encode() + tensor_bytes(self.indices)).hexdigest()

    def training_condition(
        self, indices: Tensor, cond: Conditions | None, chance: Tensor
    ) -> Conditions | None:
        """Return the conditions that a training step gets for these indices of the part."""
        return self.data.training_condition(self.indices[indices], cond, chance)


def draw_indices(data: Data, count: int, generator: torch.Generator) -> Tensor:
    """Draw indices int64 ``[count]`` of ``data``, evenly over its labels.

    The draw is a systematic sample: every label gets its fraction of the data set to within one. An index is
    drawn twice only if ``count`` is larger than the data set.
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
    """Return the labels int64 ``[N]`` of all of ``data``, in order; None for another kind of condition."""
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
    """Check that ``test_fraction`` is a number in [0, 1).

    Raises:
        OptionError: it is not.
    """
    if not isinstance(test_fraction, (int, float)) or not 0 <= test_fraction < 1:
        raise OptionError(f"test_fraction={test_fraction!r} is not possible; give a fraction in [0, 1)")


def _some(of_events: Tensor | None, indices: Tensor) -> Tensor | None:
    return None if of_events is None else of_events[indices]


def _split_groups(data: Data, groups: Tensor, count: int, seed: int) -> list[Tensor]:
    """Return the indices of the training part and of the validation part.

    Whole groups are held out in a random order, until there are ``count`` data samples.
    """
    names, place, sizes = groups.unique(return_inverse=True, return_counts=True)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    held = torch.zeros(len(names), dtype=torch.bool)
    held[order] = sizes[order].cumsum(0) - sizes[order] < count
    if bool(held.all()):
        raise OptionError(
            f"validation={count} is not possible: the {len(names)} groups of '{data.name}' would all be held "
            "out; give a smaller number"
        )
    return [part.nonzero()[:, 0] for part in (~held[place], held[place])]


def _labels(data: Data) -> Tensor | None:
    """Return the labels int64 ``[N]``; None without labels, or if the data samples would be read for them."""
    held = getattr(data, "cond", None)
    if isinstance(held, Tensor):
        return None if held.is_floating_point() else held
    return labels_of(data) if type(data).conditions is not Data.conditions else None
