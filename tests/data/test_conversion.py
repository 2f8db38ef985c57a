"""as_data: whatever a user has at hand, as a data set."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset, Subset, TensorDataset

from flowprior.data import DatasetData, TensorData, as_data
from flowprior.errors import InputError

X, LABELS = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])


def test_data_is_returned_as_it_is():
    data = TensorData(X, LABELS)
    assert as_data(data) is data


def test_names_and_paths_are_loaded(tmp_path):
    assert as_data("moons:n=12").name == "moons"
    np.savez(tmp_path / "data.npz", x=np.zeros((20, 2)))
    assert len(as_data(tmp_path / "data.npz")) == 18


@pytest.mark.parametrize(
    "value",
    [X, X.numpy(), (X,), TensorDataset(X)],
    ids=["tensor", "array", "tuple", "dataset"],
)
def test_events_alone_have_no_condition(value):
    data = as_data(value)
    assert torch.equal(data.batch(torch.arange(6))[0], X)
    assert data.condition.kind == "none"


@pytest.mark.parametrize(
    "value",
    [(X, LABELS), [X, LABELS], (X.numpy(), LABELS.numpy()), TensorDataset(X, LABELS)],
    ids=["pair", "list", "arrays", "dataset"],
)
def test_pairs_have_one(value):
    x, cond = as_data(value).batch(torch.tensor([4, 2]))
    assert torch.equal(x, X[[4, 2]])
    assert cond.tolist() == [1, 2]


def test_gradients_of_the_user_are_left_behind():
    assert not as_data(X.clone().requires_grad_()).x.requires_grad


def test_other_datasets_are_read_item_by_item():
    data = as_data(Subset(TensorDataset(X, LABELS), [5, 3]))
    assert isinstance(data, DatasetData)
    assert torch.equal(data.batch(torch.arange(2))[0], X[[5, 3]])


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


@pytest.mark.parametrize("value", [3, None, {"x": X}, (X, LABELS, X), [1, 2]])
def test_anything_else_is_refused(value):
    with pytest.raises(InputError, match="data: expected a data set's name or path"):
        as_data(value)


def test_a_stream_is_refused_with_what_to_do():
    with pytest.raises(InputError, match=r"got Stream, a stream, .* write it to \.tar shards"):
        as_data(Stream())


def test_bad_tensors_are_refused():
    with pytest.raises(InputError, match="NaN"):
        as_data(X / 0)
    with pytest.raises(InputError, match=r"expected labels \[6\]"):
        as_data((X, LABELS[:4]))
    with pytest.raises(InputError, match="expected numbers in events x, got dtype"):
        as_data(np.array(["a", "b"]))
