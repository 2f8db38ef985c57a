"""The splits of data sets into train, test and validation, and random draws balanced by label.

A split is determined by its seed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowprior.data.base import Split
from flowprior.errors import InputError, OptionError
from flowprior.streams.data import Data, Subset

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
        InputError: the split would be empty.
    """
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
    if data.groups is None:
        kept, held = _split_rows(data, count, seed)
    else:
        kept, held = _split_groups(data, data.groups, count, seed)
    train = Subset(data, kept, f"{data.name}-train{len(kept)}")
    return train, Subset(data, held, f"{data.name}-validation{len(held)}")


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


def _split_rows(data: Data, count: int, seed: int) -> list[Tensor]:
    """Return the indices of the training part and of the validation part, which has a share of each class."""
    reads_samples = type(data).conditions is Data.conditions
    options: dict[str, Any] = {"seed": seed, "labels": None if reads_samples else labels_of(data)}
    try:
        return [
            split_indices(len(data), split, test_fraction=count / len(data), **options)
            for split in ("train", "test")
        ]
    except InputError as error:
        raise OptionError(
            f"validation={count} is not possible: it takes none or all of every class of '{data.name}'; "
            "give another number"
        ) from error


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
