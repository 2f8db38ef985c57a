"""Train/test splits: disjoint, complete, stratified, repeatable."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowprior.data import Data, TensorData
from flowprior.data.splits import draw_indices, split_indices
from flowprior.errors import InputError, OptionError


def both(count, **options):
    return [split_indices(count, split, **options) for split in ("train", "test")]


@given(
    count=st.integers(10, 200),
    fraction=st.floats(0.1, 0.9),
    seed=st.integers(0, 5),
)
def test_parts_are_disjoint_complete_and_sorted(count, fraction, seed):
    train, test = both(count, test_fraction=fraction, seed=seed)
    assert sorted(train.tolist() + test.tolist()) == list(range(count))
    assert torch.equal(test, test.sort().values)
    assert len(test) == round(fraction * count)


def test_each_class_is_divided_on_its_own():
    labels = torch.tensor([0] * 100 + [1] * 40 + [2] * 10)
    _, test = both(150, test_fraction=0.2, labels=labels)
    assert torch.bincount(labels[test]).tolist() == [20, 8, 2]


def test_a_class_with_one_example_stays_in_training():
    labels = torch.tensor([0] * 20 + [1])
    train, _ = both(21, test_fraction=0.1, labels=labels)
    assert 20 in train


def test_seeds_repeat_and_differ():
    first, again, other = (split_indices(100, "test", test_fraction=0.2, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_fraction_zero_uses_everything_twice():
    train, test = both(7, test_fraction=0)
    assert train.tolist() == test.tolist() == list(range(7))


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5])
def test_impossible_fractions_are_refused(fraction):
    with pytest.raises(OptionError, match=r"in \[0, 1\)"):
        split_indices(10, "train", test_fraction=fraction)


def test_unknown_splits_and_empty_parts_are_refused():
    with pytest.raises(OptionError, match="did you mean 'train'"):
        split_indices(10, "trian", test_fraction=0.1)
    with pytest.raises(InputError, match="test split of 3 data samples is empty"):
        split_indices(3, "test", test_fraction=0.1)


def labelled(counts: list[int], generator: torch.Generator) -> TensorData:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    return TensorData(torch.zeros(len(labels), 1), labels, classes=len(counts))


def shares(data: TensorData, count: int, generator: torch.Generator) -> list[int]:
    assert data.cond is not None
    chosen = data.cond[draw_indices(data, count, generator)]
    return torch.bincount(chosen, minlength=data.condition.size).tolist()


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
