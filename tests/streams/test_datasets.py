"""Data sets of torch, tensors and arrays of a user: read, checked, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from flowprior.conditions import Condition
from flowprior.conditions.condition import MOST_LABELS
from flowprior.data.base import as_data
from flowprior.errors import InputError
from flowprior.streams.datasets import DatasetData
from flowprior.streams.user_tensors import check_condition, plain_tensor, tensor_data


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


# -- tensors and arrays of a user -----------------------------------------------------------------


X = torch.arange(12.0).view(6, 2)
LARGE = torch.tensor([[0.0], [1e300]], dtype=torch.float64)
"""Numbers that float32 would make infinite."""
ONE_A_ROW = r"expected labels \[6\], embeddings \[6, E\] or a .* \[6, …\], got"


HOSTILE = {
    "sparse": (lambda: X.to_sparse(), "got a sparse"),
    "compressed": (lambda: X.to_sparse_csr(), "sparse_csr"),
    "quantised": (lambda: torch.quantize_per_tensor(X, 0.1, 0, torch.qint8), "qint8"),
    "meta": (lambda: X.to("meta"), "on meta"),
    "nested": (lambda: torch.nested.nested_tensor([X, X[:2]]), "expected a dense tensor"),
    "expanded": (lambda: torch.zeros(1, 1).expand(1 << 40, 2), "expected a dense tensor"),
    "complex": (lambda: X + 1j, "expected real"),
    "masked": (lambda: np.ma.masked_array(X.numpy(), mask=X.numpy() > 3), "got a masked one"),
    "text": (lambda: np.array([["a"], ["b"]]), "expected numbers in .* got dtype"),
    "objects": (lambda: np.array([[None], [X]], dtype=object), "expected numbers in .* got dtype object"),
    "times": (lambda: np.zeros((3, 2), dtype="datetime64[s]"), "expected numbers in .* got dtype"),
    "records": (lambda: np.zeros((3, 2), dtype=[("a", "f4")]), "expected numbers in .* got dtype"),
    "complex array": (lambda: X.numpy() + 1j, "expected real"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_cannot_be_computed_with_are_refused_in_one_line(case):
    make, message = HOSTILE[case]
    for door in (as_data, lambda value: check_condition(value, 6, "mine")):
        with pytest.raises(InputError, match=message) as caught:
            door(make())
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        X.clone().requires_grad_(),
        torch.nn.Parameter(X.clone()),
        X.numpy(),
        X.numpy().astype(">f4"),
        X.numpy().astype(np.longdouble),
        X.numpy()[::-1][::-1],
        np.asfortranarray(X.numpy()),
        X.to(torch.float8_e4m3fn),
        X.numpy().astype(np.uint32),
        X.to(torch.uint16),
    ],
    ids=lambda value: str(value.dtype),
)
def test_the_numbers_of_any_other_tensor_or_array_come_through(value):
    found = plain_tensor(value, "x", "mine")
    assert type(found) is torch.Tensor
    assert not found.requires_grad
    assert torch.equal(found.float(), X)


def test_an_array_that_may_not_be_written_is_copied():
    array = X.numpy().copy()
    array.setflags(write=False)
    plain_tensor(array, "x", "mine").zero_()
    assert array[1, 0] == 2.0


@pytest.mark.parametrize("label", [MOST_LABELS, 10**8, 1 << 40, 1 << 62])
def test_labels_beyond_the_bound_are_refused_before_they_fill_the_memory(label):
    labels = torch.tensor([0, 1, label])
    with pytest.raises(InputError, match=rf"label {label}, too high .*100,000.*number the labels"):
        tensor_data(X[:3], labels)
    with pytest.raises(InputError, match=r"too high"):
        DatasetData(torch.utils.data.TensorDataset(X[:3], labels))
    with pytest.raises(InputError, match="labels are too many, at most 100,000"):
        Condition("labels", label + 1)
    assert tensor_data(X[:2], torch.tensor([0, MOST_LABELS - 1])).condition.size == MOST_LABELS


@pytest.mark.parametrize(("kind", "size"), [("label", 3), ("labels", -1), ("labels", 1.5), ("labels", True)])
def test_a_condition_is_of_a_known_kind_and_of_a_whole_size(kind, size):
    with pytest.raises(InputError, match="condition: expected a kind among none, labels, embeddings"):
        Condition(kind, size)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.bool])
def test_everything_becomes_float32_and_int64(dtype):
    cond = torch.tensor([[0], [1], [1]], dtype=dtype)
    data = tensor_data(torch.randn(3, 2, dtype=torch.float64), cond)
    assert data.x.dtype == torch.float32
    assert (data.cond.dtype, data.cond.tolist(), data.condition.size) == (torch.int64, [0, 1, 1], 2)


def test_one_number_is_an_embedding_of_width_one():
    for cond in (torch.tensor([0.5, 1.0, 2.0]), torch.tensor([[0.0], [1], [2]])):
        data = tensor_data(torch.randn(3, 2), cond)
        assert (data.condition, data.cond.shape) == (Condition("embeddings", 1), (3, 1))


def test_class_names_count_the_classes_of_labels():
    data = tensor_data(torch.randn(3, 2), torch.tensor([0, 1, 1]), class_names=["a", "b", "c"])
    assert data.condition.size == 3
    assert tensor_data(torch.zeros(3, 2), classes=2).condition.kind == "none"
    with pytest.raises(InputError, match=r"expected labels 0\.\.1, got 2"):
        tensor_data(torch.zeros(3, 2), torch.tensor([0, 1, 2]), classes=2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_events_are_counted_and_placed(bad):
    x = torch.zeros(5, 2, 3)
    x[3, 1, 2] = x[4, 0, 0] = bad
    with pytest.raises(InputError, match="x has NaN or infinite numbers in 2 of 5 rows, first in row 3"):
        tensor_data(x, name="mine")


@pytest.mark.parametrize(
    ("x", "cond", "message"),
    [
        (torch.zeros(3), None, r"expected events x \[N, \*event\]"),
        (torch.zeros(0, 2), None, r"N >= 1, got \[0, 2\]"),
        (torch.zeros(3, 1, 0, 4), None, r"N >= 1, got \[3, 1, 0, 4\]"),
        (torch.zeros(()), None, r"N >= 1, got \[\]"),
        (torch.zeros(3, 2, dtype=torch.complex64), None, "expected real events"),
        (torch.zeros(3, 2), torch.tensor([0, 1]), r"expected labels \[3\]"),
        (torch.zeros(3, 2), torch.zeros(2, 4), r"embeddings \[3, E\]"),
        (torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.long), r"got torch.int64 \[3, 2\]"),
        (torch.zeros(3, 2), torch.zeros(3, 2, 2).long(), r"got torch.int64 \[3, 2, 2\]"),
        (torch.zeros(3, 2), torch.tensor([0, -1, 1]), "labels from 0 on, got -1"),
        (X, torch.tensor(3), ONE_A_ROW),
        (X, torch.tensor(0.5), ONE_A_ROW),
        (X, np.array(2), ONE_A_ROW),
        (X, torch.zeros(6, 0), ONE_A_ROW),
        (X, torch.zeros(6, 1, 1).long(), ONE_A_ROW),
        (
            X,
            torch.tensor([0.0, 1, 2, 0, 1, 2]),
            r"whole numbers as torch.float32 \[6\]; pass labels as integers",
        ),
        (LARGE, None, "x has NaN or infinite numbers in 1 of 2 rows"),
        (torch.zeros(2, 1), LARGE, "condition has NaN or infinite numbers in 1 of 2 rows"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(x, cond, message):
    with pytest.raises(InputError, match=message):
        tensor_data(x, cond)
