"""From a profile's events to the time of each part of a step, and how long the device worked at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch.autograd import DeviceType

from benchmarks.gpu.regions import PREFIX


def host_times(events: Sequence[Any]) -> dict[str, float]:
    """Microseconds that the processor spent in each part, without what lies in a part inside of it."""
    return _sums(events, [(event, event.self_cpu_time_total) for event in _on_host(events)])


def device_times(events: Sequence[Any]) -> dict[str, float]:
    """Microseconds of the device's kernels that each part started.

    What autograd's own thread starts is the backward pass. A name that the profile draws on the device's
    line, over the kernels that lie under it, is no kernel.
    """
    host = list(_on_host(events))
    names = {event.name for event in host}
    return _sums(
        events,
        [(event, kernel.duration) for event in host for kernel in event.kernels if kernel.name not in names],
    )


def busy_time(events: Sequence[Any]) -> float:
    """Microseconds in which at least one kernel ran on the device."""
    names = {event.name for event in _on_host(events)}
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in events
        if event.device_type == DeviceType.CUDA and event.name not in names
    )
    total, reached = 0.0, float("-inf")
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _on_host(events: Iterable[Any]) -> Iterable[Any]:
    return (event for event in events if event.device_type == DeviceType.CPU)


def _sums(events: Sequence[Any], costs: Iterable[tuple[Any, float]]) -> dict[str, float]:
    threads = {event.thread for event in _on_host(events) if event.name.startswith(PREFIX)}
    found: dict[str, float] = {}
    for event, microseconds in costs:
        region = _region(event, threads)
        found[region] = found.get(region, 0.0) + microseconds
    return found


def _region(event: Any, threads: set[int]) -> str:
    """The innermost part that an event lies in."""
    outer = event
    while outer is not None:
        if outer.name.startswith(PREFIX):
            return outer.name.removeprefix(PREFIX)
        outer = outer.cpu_parent
    return "other" if event.thread in threads else "backward"
