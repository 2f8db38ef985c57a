"""Torch data sets: lazily read items, and how the classes are counted."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import Dataset

from flowprior.errors import InputError
from flowprior.streams.datasets import DatasetData


class Items(Dataset):
    """A list of items that counts how often it is read."""

    def __init__(self, items, **attributes):
        self.items, self.reads = items, 0
        for name, value in attributes.items():
            setattr(self, name, value)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        self.reads += 1
        return self.items[index]


def labelled(count=5, classes=3):
    return [(torch.full((1, 2, 2), index / 10), index % classes) for index in range(count)]


def test_items_are_stacked_in_the_order_asked_for():
    data = DatasetData(Items(labelled(), targets=[0, 1, 2, 0, 1]))
    x, cond = data.batch(torch.tensor([4, 0]))
    assert x[:, 0, 0, 0].tolist() == pytest.approx([0.4, 0.0])
    assert cond.tolist() == [1, 0]
    assert cond.dtype == torch.int64
    assert data.is_image
    assert data.event_shape == (1, 2, 2)


def test_classes_come_from_names_then_targets_then_a_full_pass():
    named = Items(labelled(), classes=["a", "b", "c", "d"])
    assert DatasetData(named).condition.size == 4
    assert DatasetData(named).class_names == ["a", "b", "c", "d"]
    with_targets = Items(labelled(), targets=[0, 1, 2, 0, 1])
    assert DatasetData(with_targets).condition.size == 3
    assert with_targets.reads == 1
    bare = Items(labelled())
    assert DatasetData(bare).condition.size == 3
    assert bare.reads == 6


@pytest.mark.parametrize("item", [torch.zeros(3), (torch.zeros(3),)])
def test_items_without_a_condition(item):
    data = DatasetData(Items([item, item]))
    assert data.condition.kind == "none"
    assert data.batch(torch.arange(2))[1] is None


def test_embeddings_keep_their_width():
    data = DatasetData(Items([(torch.zeros(3), torch.randn(4, dtype=torch.float64))] * 2))
    assert data.condition.kind == "embeddings"
    assert data.condition.size == 4
    assert data.batch(torch.arange(2))[1].shape == (2, 4)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "got an empty one"),
        ([("picture", 0)], "got str at index 0; add a transform"),
        ([torch.zeros(2, dtype=torch.uint8)], "got torch.uint8"),
    ],
)
def test_items_of_another_kind_are_refused(items, message):
    with pytest.raises(InputError, match=message):
        DatasetData(Items(items))


def test_non_finite_items_are_refused_when_read():
    data = DatasetData(Items([torch.zeros(2), torch.tensor([0.0, float("nan")])]))
    with pytest.raises(InputError, match="first in row 1"):
        data.batch(torch.arange(2))


@pytest.mark.parametrize("attributes", [{"targets": [0, 1]}, {}])
def test_a_label_of_another_kind_midway_is_one_line(attributes):
    items = [(torch.zeros(2), 0), (torch.zeros(2), 0.5)]
    with pytest.raises(InputError, match="expected a condition of one kind with every item"):
        DatasetData(Items(items, **attributes)).batch(torch.arange(2))


def test_an_item_that_raises_stop_iteration_is_one_line():
    """Labels that are counted in one pass would end there without a word."""

    class Ends(Items):
        def __getitem__(self, index):
            return next(iter(self.items[index : index + 1]))

        def __len__(self):
            return 9

    with pytest.raises(InputError, match="expected 9 items, got StopIteration at index 5"):
        DatasetData(Ends(labelled(5)))
