"""What processes of a group tell each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

import pytest
import torch

from flowprior.errors import OptionError
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


def test_generators_in_different_states_are_refused_and_none_is_the_first_ones() -> None:
    def drawn(group: ThreadGroup) -> float:
        torch.manual_seed(group.rank)
        generator = group.generator(None, torch.device("cpu"), "flow.sample")
        same = group.generator(torch.Generator().manual_seed(4), torch.device("cpu"), "flow.sample")
        assert float(torch.rand((), generator=same)) == float(
            torch.rand((), generator=torch.Generator().manual_seed(4))
        )
        with pytest.raises(OptionError, match=r"flow\.sample: the processes of the group gave generators"):
            group.generator(torch.Generator().manual_seed(group.rank), torch.device("cpu"), "flow.sample")
        return float(torch.rand((), generator=generator))

    first, second = in_threads(drawn, 2)
    assert first == second


def test_all_raise_what_one_raises_even_where_it_cannot_be_sent() -> None:
    class Own(Exception):
        pass

    def worked(group: ThreadGroup) -> str:
        def work(item: int) -> int:
            if item == 1:
                raise Own("of process 1")
            return item

        with pytest.raises(Exception, match="of process 1") as caught:
            group.in_parts(work, [0, 1, 2])
        return type(caught.value).__name__

    assert list(in_threads(worked, 2)) == ["RuntimeError", "Own"]
