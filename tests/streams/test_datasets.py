"""Torch data sets: lazily read items, and how the classes are counted."""

from __future__ import annotations

import numpy as np
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


LABELLED = [(torch.full((1, 2, 2), index / 10), index % 3) for index in range(5)]


def test_items_are_stacked_in_the_order_asked_for():
    data = DatasetData(Items(LABELLED, targets=[0, 1, 2, 0, 1]))
    x, cond = data.batch(torch.tensor([4, 0]))
    assert x[:, 0, 0, 0].tolist() == pytest.approx([0.4, 0.0])
    assert (cond.tolist(), cond.dtype) == ([1, 0], torch.int64)
    assert (data.is_image, data.event_shape) == (True, (1, 2, 2))
    x, cond = data.batch(torch.zeros(0, dtype=torch.long))
    assert (x.shape, cond.shape) == ((0, 1, 2, 2), (0,))


@pytest.mark.parametrize(
    ("attributes", "size", "reads"),
    [({"classes": "abcd"}, 4, 1), ({"targets": [0, 1, 2, 0, 1]}, 3, 1), ({}, 3, 6)],
)
def test_classes_come_from_names_then_targets_then_a_full_pass(attributes, size, reads):
    items = Items(LABELLED, **attributes)
    data = DatasetData(items)
    assert (data.condition.size, items.reads) == (size, reads)
    assert data.class_names == (["a", "b", "c", "d"] if "classes" in attributes else None)


@pytest.mark.parametrize("item", [torch.zeros(3), (torch.zeros(3),), (torch.zeros(3), None), np.zeros(3)])
def test_items_without_a_condition(item):
    data = DatasetData(Items([item, item]))
    assert data.condition.kind == "none"
    assert data.batch(torch.arange(2))[1] is None


def test_embeddings_keep_their_width():
    data = DatasetData(Items([(torch.zeros(3), torch.randn(4, dtype=torch.float64))] * 2))
    assert (data.condition.kind, data.condition.size) == ("embeddings", 4)
    assert data.batch(torch.arange(2))[1].shape == (2, 4)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "got an empty one"),
        ([("picture", 0)], "expected a tensor or an array as items, got tuple"),
        ([{1}], "that are all alike, got others .*; add a transform"),
        ([torch.zeros(2), torch.zeros(3)], "that are all alike, got others"),
        ([torch.zeros(2), torch.tensor([0.0, float("nan")])], "first in row 1"),
        ([(torch.zeros(2), 0), (torch.zeros(2), None)], "that are all alike, got others"),
    ],
)
def test_items_that_do_not_fit_are_refused(items, message):
    with pytest.raises(InputError, match=message):
        DatasetData(Items(items)).batch(torch.arange(len(items)))


@pytest.mark.parametrize("attributes", [{"targets": [0, 1]}, {}])
def test_a_label_of_another_kind_midway_is_one_line(attributes):
    items = [(torch.zeros(2), 0), (torch.zeros(2), 0.5)]
    with pytest.raises(InputError, match="expected int64 labels") as caught:
        DatasetData(Items(items, **attributes)).batch(torch.arange(2))
    assert "\n" not in str(caught.value)


def test_an_item_that_raises_stop_iteration_is_one_line():
    """Labels that are counted in one pass would end there without a word."""

    class Ends(Items):
        def __getitem__(self, index):
            return next(iter(self.items[index : index + 1]))

        def __len__(self):
            return 9

    with pytest.raises(InputError, match="expected 9 items, got StopIteration at index 5"):
        DatasetData(Ends(LABELLED))
