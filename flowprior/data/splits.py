"""Which events are taken: deterministic train/test splits, and draws that follow the labels' shares."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.data.base import Data, Split
from flowprior.errors import InputError, OptionError
from flowprior.registry import choose

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
    is_test = _choose_test(count, test_fraction, seed, labels)
    chosen = torch.nonzero(is_test if split == "test" else ~is_test).flatten()
    if not len(chosen):
        raise InputError(
            f"the {split} part of {count} events is empty at test_fraction={test_fraction}; "
            "pass test_fraction=0 to use every event in both parts"
        )
    return chosen


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


def _choose_test(count: int, fraction: float, seed: int, labels: Tensor | None) -> Tensor:
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    groups = torch.zeros(count, dtype=torch.long) if labels is None else labels
    is_test = torch.zeros(count, dtype=torch.bool)
    for group in groups.unique().tolist():
        members = order[groups[order] == group]
        is_test[members[: round(fraction * len(members))]] = True
    return is_test


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
