"""Train/test splits: disjoint, complete, stratified, repeatable."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowprior.data import split_indices
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
    with pytest.raises(InputError, match="test part of 3 events is empty"):
        split_indices(3, "test", test_fraction=0.1)
