"""Derived batches: made once where they are small, anew where they are not, never kept from half a pass."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from flowprior.priors.kept_batches import KeptBatches
from flowprior.priors.stream import Batch


class Maker:
    """Three batches of two numbers, and how many batches were made."""

    made = 0

    def __call__(self) -> Iterator[Batch]:
        for start in (0.0, 2.0, 4.0):
            self.made += 1
            yield torch.tensor([[start], [start + 1]]), None


def values(batches: KeptBatches) -> list[float]:
    return torch.cat([x for x, _ in batches]).flatten().tolist()


@pytest.mark.parametrize(("most", "made"), [(6, 3), (5, 9)])
def test_small_ones_are_made_once(most: int, made: int) -> None:
    maker = Maker()
    batches = KeptBatches(maker, most)
    for _ in range(3):
        assert values(batches) == [0, 1, 2, 3, 4, 5]
    assert maker.made == made


def test_a_look_at_the_first_keeps_nothing() -> None:
    maker = Maker()
    batches = KeptBatches(maker, most=100)
    next(iter(batches))
    assert batches.kept is None
    assert values(batches) == [0, 1, 2, 3, 4, 5]
