"""Drawing conditions: in the reference's proportions, without replacement, by the generator alone."""

from __future__ import annotations

import pytest
import torch

from flowprior.data import Data, TensorData
from flowprior.data.splits import draw_indices


def labelled(counts: list[int], generator: torch.Generator) -> TensorData:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    return TensorData(torch.zeros(len(labels), 1), labels, classes=len(counts))


def shares(data: TensorData, count: int, generator: torch.Generator) -> list[int]:
    assert data.cond is not None
    chosen = data.cond[draw_indices(data, count, generator)]
    return torch.bincount(chosen, minlength=data.condition.size).tolist()


def test_balanced_data_give_balanced_draws(generator: torch.Generator) -> None:
    assert shares(labelled([50] * 4, generator), 100, generator) == [25] * 4


@pytest.mark.parametrize("count", [10, 37, 100, 250])
def test_every_label_gets_its_share_to_within_one(generator: torch.Generator, count: int) -> None:
    counts = [60, 30, 9, 1]
    found = shares(labelled(counts, generator), count, generator)
    assert sum(found) == count
    assert all(abs(n - count * c / 100) < 1 + 1e-9 for n, c in zip(found, counts, strict=True))


def test_no_example_twice_while_there_are_enough(generator: torch.Generator) -> None:
    data = labelled([40, 60], generator)
    assert len(draw_indices(data, 70, generator).unique()) == 70
    assert sorted(draw_indices(data, 100, generator).tolist()) == list(range(100))
    assert torch.bincount(draw_indices(data, 300, generator)).tolist() == [3] * 100


def test_unlabelled_data_are_drawn_too(generator: torch.Generator) -> None:
    data = TensorData(torch.zeros(20, 1), torch.randn(20, 3, generator=generator))
    assert len(draw_indices(data, 15, generator).unique()) == 15


def test_the_order_is_random_and_the_generator_decides_it(digits: tuple[Data, Data]) -> None:
    first, again = (draw_indices(digits[1], 50, torch.Generator().manual_seed(1)) for _ in range(2))
    other = draw_indices(digits[1], 50, torch.Generator().manual_seed(2))
    labels = digits[1].batch(first)[1]
    assert labels is not None
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(labels, labels.sort().values)
