"""The emulation itself: right kernels run, and each kind of fault is noticed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.native.conftest import kept_folder
from tests.native.emulated import ORDERS, Emulation, KernelError, Layout


@pytest.fixture
def numbers() -> Tensor:
    return torch.arange(64.0)


def test_pytest_may_run_without_its_cache() -> None:
    assert kept_folder(object()) is None


@pytest.mark.parametrize("order", ORDERS)
def test_shared_memory_and_barriers(emulation: Emulation, numbers: Tensor, order: str) -> None:
    with emulation.setting(order):
        assert torch.equal(emulation.fault("none", numbers), numbers.roll(-1))


@pytest.mark.parametrize("order", ORDERS)
def test_warp_shuffles(emulation: Emulation, numbers: Tensor, order: str) -> None:
    with emulation.setting(order):
        sums = emulation.fault("warp sum", numbers)
    assert torch.equal(sums, numbers.view(2, 32).sum(1).repeat_interleave(32))


@pytest.mark.parametrize(
    ("name", "order"), [("no barrier, later", "ascending"), ("no barrier, earlier", "descending")]
)
def test_missing_barrier_shows_in_one_order_of_threads(
    emulation: Emulation, numbers: Tensor, name: str, order: str
) -> None:
    shift = -1 if "later" in name else 1
    with emulation.setting(order):
        result = emulation.fault(name, numbers)
    wrong = ~(result == numbers.roll(shift))
    assert wrong.sum() == 63
    assert result[wrong].isnan().all()


def test_shared_memory_starts_as_nan(emulation: Emulation, numbers: Tensor) -> None:
    result = emulation.fault("read unwritten", numbers)
    assert result[0].isnan()
    assert (result[1:] == 1).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("write beyond", "beyond shared memory"),
        ("missed barrier", "others do not reach"),
        ("part of a warp", "others do not reach"),
        ("misaligned", "not aligned"),
        ("too large", "a device refuses"),
    ],
)
def test_faults_are_reported(emulation: Emulation, numbers: Tensor, name: str, message: str) -> None:
    with pytest.raises(KernelError, match=message):
        emulation.fault(name, numbers)
    assert torch.equal(emulation.fault("none", numbers), numbers.roll(-1))


def test_writing_outside_an_output_is_reported(emulation: Emulation) -> None:
    """64 numbers are written where the output has room for 63."""
    room = emulation._output([1, 63], torch.float32)
    error = emulation._call("fault", b"none", torch.arange(64.0), room)
    with pytest.raises(KernelError, match="outside an output's rows"):
        emulation._check(error)


def test_layout_places_rows_between_nan() -> None:
    rows = torch.arange(6.0).view(2, 3)
    placed = Layout(1, 2).place(rows)
    assert torch.equal(placed, rows)
    assert placed.stride() == (5, 1)
    assert placed.data_ptr() % 16 == 4
    assert placed.as_strided((2, 5), (5, 1))[:, 3:].isnan().all()
