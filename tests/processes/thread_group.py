"""A group whose processes are threads, to test what several processes find without starting any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

from flowprior.processes.group import Group

T = TypeVar("T")


class ThreadGroup(Group):
    """One of ``size`` threads that share the list ``held``."""

    def __init__(self, rank: int, size: int, held: list[Any], barrier: Barrier) -> None:
        super().__init__()
        self.rank, self.size, self._held, self._barrier = rank, size, held, barrier

    def of_each(self, value: T) -> list[T]:
        self._barrier.wait()
        self._held[self.rank] = value
        self._barrier.wait()
        return list(self._held)


def in_threads(work: Callable[[ThreadGroup], T], size: int) -> Sequence[T]:
    """What ``work`` gives in each of ``size`` threads of a group."""
    held, barrier = [None] * size, Barrier(size, timeout=60)
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(lambda rank: work(ThreadGroup(rank, size, held, barrier)), range(size)))
