"""A group of rows: the ways of doing one thing at one size, each timed by pytest-benchmark, and all in turn.

A shared machine changes between rows, so our row also times all ways in turn, and ratios come from there.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from timeit import repeat
from typing import Any
from unittest.mock import patch

import pytest
import torch

from benchmarks.operators.peers import Call, MissingError, compiled, need_native, warm
from flowprior.ops.backend import native_devices

NATIVE, FALLBACK = "flowprior native", "flowprior fallback"
OURS = (NATIVE, FALLBACK)
WHOLE = "flowprior"
"""Our way where the back end hardly matters, such as a fit, whose time is torch's matrix products."""
QUICK = pytest.mark.benchmark(max_time=0.25, min_rounds=5, warmup=True, warmup_iterations=3)
"""Options of pytest-benchmark for calls of at most some ten milliseconds."""

ROUNDS = 20
"""Turns of each way; ``--turns`` sets it."""
LONG = 1e-3
"""Seconds of a call above which one call before the timed ones is enough to fill the caches."""
TURN = 20e-3
"""Seconds of the timed calls of a turn, at most eight of them and at least one."""

Maker = Callable[[], Call]


@dataclass
class Group:
    """The ways of doing one thing.

    Attributes:
        name: the thing and its size, as the tables say it.
        makers: for each way, what prepares it (compiles it, imports its package) and returns the call.
        goals: the ratio to our time that a peer is meant to have at least.
        moved: bytes that the thing must at least read and write; 0 where that is no measure for it.
        work: floating-point operations that the thing needs; 0 where they are not counted.
        batches: training batches that one call makes.
    """

    name: str
    makers: Mapping[str, Maker]
    goals: Mapping[str, float] = field(default_factory=dict)
    moved: int = 0
    work: int = 0
    batches: int = 1
    _calls: dict[str, Call] = field(default_factory=dict)

    def call(self, way: str) -> Call:
        """The call of a way, prepared once.

        Raises:
            MissingError: what it needs is not installed.
        """
        if way not in self._calls:
            if way == NATIVE:
                need_native()
            with around(way):
                self._calls[way] = self.makers[way]()
        return self._calls[way]


@contextmanager
def around(way: str) -> Iterator[None]:
    """Pure torch under flowprior's operators while the fallback is timed; everything else as it is."""
    if way != FALLBACK:
        yield
        return
    # What keeps the choice, which is made once for a process.
    with patch("flowprior.ops.operators._native_devices", frozenset()):
        yield


def ours(call: Call) -> dict[str, Maker]:
    """flowprior's call with its native operators and with their fallback; :func:`around` tells them apart."""
    return {NATIVE: lambda: call, FALLBACK: lambda: call}


def composed(
    way: str, function: Callable[..., Any], *arguments: Any, bind: Callable[..., Call] = partial
) -> dict[str, Maker]:
    """A composition of torch's operators, eager and under ``torch.compile``; ``bind`` makes a call of it."""
    return {
        way: lambda: bind(function, *arguments),
        f"compiled {way}": lambda: warm(bind(compiled(function), *arguments)),
    }


def rows_of(
    build: Callable[..., Group], sizes: Iterable[tuple[Any, ...]], then: Callable[..., None] | None = None
) -> Any:
    """A benchmark of each size and way of the groups that ``build`` makes; ``then`` follows a timed row."""
    pairs = [(size, way) for size in sizes for way in build(*size).makers]
    names = [f"{'x'.join(map(str, size))}-{way}" for size, way in pairs]

    @QUICK
    @pytest.mark.parametrize(("size", "way"), pairs, ids=names)
    def test(benchmark: Any, size: tuple[Any, ...], way: str) -> None:
        time_row(benchmark, build(*size), way)
        if then is not None:
            then(benchmark, size, way)

    return test


def own_way() -> str:
    """The way that ratios are taken to: flowprior as it runs here."""
    return NATIVE if "cpu" in native_devices() else FALLBACK


def time_row(benchmark: Any, group: Group, way: str) -> None:
    """Time one way of a group; on our own row all of them in turn, too. Skips where the way is missing."""
    benchmark.group = group.name
    benchmark.extra_info["way"] = way
    try:
        call = group.call(way)
    except MissingError as missing:
        benchmark.skipped = True  # pytest-benchmark otherwise warns of a fixture that was not used
        pytest.skip(str(missing))
    with around(way):
        benchmark(call)
    if benchmark.enabled and way in (WHOLE, own_way()):
        benchmark.extra_info.update(compare(group, way))


def compare(group: Group, ours: str) -> dict[str, Any]:
    """Milliseconds of all ways in turn, the ratios to ours, and the share of a copy's bandwidth."""
    calls: dict[str, Call] = {}
    for way in group.makers:
        with suppress(MissingError):
            calls[way] = group.call(way)
    source = torch.randn(max(group.moved // 8, 1 << 20))
    if group.moved:
        calls["copy"] = partial(torch.empty_like(source).copy_, source)
    seconds = {name: value / group.batches for name, value in take_turns(calls).items()}
    own, copy = seconds[ours], seconds.pop("copy", None)
    found: dict[str, Any] = {
        "milliseconds": {name: value * 1e3 for name, value in seconds.items()},
        "ratio": {name: value / own for name, value in seconds.items() if name != ours},
        "goal": dict(group.goals),
    }
    if copy is not None:
        rate = 2 * source.nbytes / copy
        found |= {"copy_rate": rate, "bandwidth": group.moved / own / rate}
    if group.work:
        found["gigaflops"] = group.work / own / 1e9
    return found


def take_turns(calls: Mapping[str, Call], rounds: int | None = None) -> dict[str, float]:
    """Median seconds of each call in ``rounds`` turns of each, ``ROUNDS`` if None.

    The first calls of a turn do not count.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds or ROUNDS):
        for name, call in calls.items():
            with around(name):
                times[name] += _turn(call)
    return {name: statistics.median(values) for name, values in times.items()}


def _turn(call: Call) -> list[float]:
    (first,) = repeat(call, number=1, repeat=1)
    if first < LONG:
        call()
    return repeat(call, number=1, repeat=max(1, min(8, int(TURN / max(first, 1e-9)))))
