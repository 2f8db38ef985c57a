"""Train/test splits: disjoint, complete, stratified, repeatable; draws that are balanced by label."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowprior.data import TensorData
from flowprior.data.splits import draw_indices, split_indices
from flowprior.errors import InputError


@given(count=st.integers(10, 200), fraction=st.floats(0.1, 0.9), seed=st.integers(0, 5))
def test_parts_are_disjoint_complete_sorted_and_decided_by_the_seed(count, fraction, seed):
    parts = [split_indices(count, part, test_fraction=fraction, seed=seed) for part in ("train", "test")]
    assert sorted(torch.cat(parts).tolist()) == list(range(count))
    assert torch.equal(parts[1], parts[1].sort().values)
    assert len(parts[1]) == round(fraction * count)
    assert torch.equal(parts[1], split_indices(count, "test", test_fraction=fraction, seed=seed))


def test_each_class_is_divided_on_its_own_and_a_single_example_stays_in_training():
    labels = torch.tensor([0] * 100 + [1] * 40 + [2])
    test = split_indices(141, "test", test_fraction=0.2, labels=labels)
    assert torch.bincount(labels[test], minlength=3).tolist() == [20, 8, 0]
    other = split_indices(141, "test", test_fraction=0.2, labels=labels, seed=1)
    assert not torch.equal(test, other)


def test_fraction_zero_uses_everything_twice_and_an_empty_part_is_refused():
    for part in ("train", "test"):
        assert split_indices(7, part, test_fraction=0).tolist() == list(range(7))
    with pytest.raises(InputError, match="test split of 3 data samples is empty"):
        split_indices(3, "test", test_fraction=0.1)


@pytest.mark.parametrize("count", [10, 70, 100, 250])
def test_every_label_gets_its_share_to_within_one_and_no_example_comes_twice_too_soon(generator, count):
    counts = torch.tensor([60, 30, 9, 1])
    labels = torch.arange(4).repeat_interleave(counts)[torch.randperm(100, generator=generator)]
    data = TensorData(torch.zeros(100, 1), labels)
    drawn = draw_indices(data, count, generator)
    assert len(drawn) == count
    assert len(drawn.unique()) == min(count, 100)
    found = torch.bincount(labels[drawn], minlength=4)
    assert bool(((found - count * counts / 100).abs() < 1 + 1e-9).all())


def test_the_order_is_random_and_unlabelled_data_are_drawn_too(generator):
    for cond in (torch.arange(50) % 5, torch.randn(50, 3, generator=generator)):
        data = TensorData(torch.zeros(50, 1), cond)
        first, again, other = (
            draw_indices(data, 25, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert not torch.equal(first, first.sort().values)
