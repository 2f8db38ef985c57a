"""Checks at the boundary: what tensors become a data set, and which are refused in one line."""

from __future__ import annotations

import pytest
import torch

from flowprior.data import tensor_data
from flowprior.errors import InputError


def test_everything_becomes_float32_and_int64():
    data = tensor_data(torch.randn(4, 3, dtype=torch.float64), torch.tensor([0, 1, 1, 2], dtype=torch.int16))
    assert data.x.dtype == torch.float32
    assert data.cond.dtype == torch.int64
    assert data.condition.size == 3


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.bool])
def test_labels_of_any_integer_type_and_a_spare_dimension(dtype):
    data = tensor_data(torch.randn(3, 2), torch.tensor([[0], [1], [1]], dtype=dtype))
    assert data.cond.tolist() == [0, 1, 1]


def test_one_number_is_an_embedding_of_width_one():
    data = tensor_data(torch.randn(3, 2), torch.tensor([0.5, 1.0, 2.0]))
    assert data.condition.kind == "embeddings"
    assert data.cond.shape == (3, 1)


def test_class_names_count_the_classes():
    data = tensor_data(torch.randn(3, 2), torch.tensor([0, 1, 1]), class_names=["a", "b", "c"])
    assert data.condition.size == 3


@pytest.mark.parametrize("layout", ["channels first", "channels last"])
def test_bytes_are_pictures(layout):
    pictures = torch.randint(256, (4, 3, 8, 9), dtype=torch.uint8)
    x = pictures if layout == "channels first" else pictures.permute(0, 2, 3, 1)
    data = tensor_data(x)
    assert data.is_image
    assert torch.equal(data.x, pictures.float() / 127.5 - 1)


def test_floating_point_pictures_are_known_by_channels_and_range():
    assert tensor_data(torch.rand(4, 1, 8, 8)).is_image
    assert not tensor_data(2 * torch.ones(4, 1, 8, 8)).is_image
    assert not tensor_data(torch.rand(4, 16, 8, 8)).is_image
    assert not tensor_data(torch.rand(4, 8)).is_image


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_events_are_counted_and_placed(bad):
    x = torch.zeros(5, 2, 3)
    x[3, 1, 2] = x[4, 0, 0] = bad
    with pytest.raises(InputError, match="x has NaN or infinite numbers in 2 of 5 rows, first in row 3"):
        tensor_data(x, name="mine")


def test_non_finite_embeddings_are_refused():
    with pytest.raises(InputError, match="mine: condition has NaN"):
        tensor_data(torch.zeros(2, 2), torch.tensor([[0.0], [float("nan")]]), name="mine")


@pytest.mark.parametrize(
    ("x", "cond", "message"),
    [
        (torch.zeros(3), None, r"expected events x \[N, \*event\]"),
        (torch.zeros(0, 2), None, r"N >= 1, got \[0, 2\]"),
        (torch.zeros(3, 2, dtype=torch.complex64), None, "expected real events"),
        (torch.zeros(3, 2), torch.tensor([0, 1]), r"expected labels \[3\]"),
        (torch.zeros(3, 2), torch.zeros(2, 4), r"embeddings \[3, E\]"),
        (torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.long), r"got torch.int64 \[3, 2\]"),
        (torch.zeros(3, 2), torch.zeros(3, 2, 2).long(), r"got torch.int64 \[3, 2, 2\]"),
        (torch.zeros(3, 2), torch.tensor([0, -1, 1]), "labels from 0 on, got -1"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(x, cond, message):
    with pytest.raises(InputError, match=message):
        tensor_data(x, cond)


def test_labels_beyond_the_classes_are_refused():
    with pytest.raises(InputError, match=r"expected labels 0\.\.1, got 2"):
        tensor_data(torch.zeros(3, 2), torch.tensor([0, 1, 2]), classes=2)


def test_a_number_of_classes_needs_labels():
    assert tensor_data(torch.zeros(3, 2), classes=2).condition.kind == "none"
