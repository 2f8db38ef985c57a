"""Of a profile's events: whose time is whose, and when the device works."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.regions import PREFIX, named
from benchmarks.gpu.shares import busy_time, device_times, host_times


def event(name: str, parent: Any = None, own: float = 0, kernels: Any = (), thread: int = 1) -> Any:
    launched = [SimpleNamespace(name=kernel, duration=taken) for kernel, taken in kernels]
    return SimpleNamespace(
        name=name, cpu_parent=parent, self_cpu_time_total=own, kernels=launched, thread=thread,
        device_type=DeviceType.CPU,
    )  # fmt: skip


def kernel(name: str, start: float, end: float) -> Any:
    times = SimpleNamespace(start=start, end=end)
    return SimpleNamespace(name=name, time_range=times, device_type=DeviceType.CUDA)


@pytest.fixture
def events() -> list[Any]:
    """A coupling that draws from a prior; a backward pass in autograd's thread; a sum that nobody named."""
    coupling = event(PREFIX + "coupling", own=5, kernels=[(PREFIX + "coupling", 100)])
    prior = event(PREFIX + "prior", coupling, own=3)
    return [
        coupling,
        prior,
        event("aten::randn", prior, own=2, kernels=[("normal", 7)]),
        event("aten::gather", coupling, own=1, kernels=[("gather", 4), ("copy", 1)]),
        event("aten::sum", own=6, kernels=[("reduce", 2)]),
        event("aten::mm", own=9, kernels=[("gemm", 30)], thread=2),
        kernel(PREFIX + "coupling", 0, 100),
        kernel("normal", 10, 17),
        kernel("gather", 15, 19),
        kernel("copy", 40, 41),
    ]


def test_a_part_inside_another_one_is_taken_off_it(events: list[Any]) -> None:
    assert host_times(events) == {"coupling": 6, "prior": 5, "other": 6, "backward": 9}


def test_kernels_belong_to_the_part_that_started_them(events: list[Any]) -> None:
    assert device_times(events) == {"prior": 7, "coupling": 5, "other": 2, "backward": 30}


def test_kernels_that_overlap_count_once_and_names_over_them_never(events: list[Any]) -> None:
    assert busy_time(events) == 9 + 1


def test_a_real_profile_finds_the_named_part() -> None:
    multiply = named("network", torch.mm)
    with profile(activities=[ProfilerActivity.CPU]) as found:
        multiply(torch.ones(64, 64), torch.ones(64, 64))
    times = host_times(found.events())
    assert times["network"] > 0
    assert busy_time(found.events()) == 0
