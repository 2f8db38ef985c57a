"""Timing in turn: all ways of doing one thing share the same seconds of the machine."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any

ROUNDS = 20
LONG = 1e-3
"""Seconds of a call above which one call before the timed ones is enough to fill the caches."""
TURN = 20e-3
"""Seconds of the timed calls of a turn, at most eight of them and at least one."""

Call = Callable[[], Any]
Around = Callable[[str], AbstractContextManager[Any]]


def take_turns(calls: Mapping[str, Call], around: Around, rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of each call, the calls taking turns; the first of a turn do not count.

    Args:
        calls: what is timed, by its name.
        around: the context that a name's calls run in, entered once a turn.
        rounds: turns of each.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            with around(name):
                times[name] += _turn(call)
    return {name: statistics.median(values) for name, values in times.items()}


def _turn(call: Call) -> list[float]:
    first = _seconds(call)
    if first < LONG:
        _seconds(call)
    return [_seconds(call) for _ in range(max(1, min(8, int(TURN / max(first, 1e-9)))))]


def _seconds(call: Call) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start
