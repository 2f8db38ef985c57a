"""Batches of pairs that a worker thread prepares while the network works."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from flowprior.training.batches import Pairs, PairStream


class Batches(Protocol):
    """What the loop takes its pairs from.

    Attributes:
        seconds_waited: that :meth:`batch` took so far.
    """

    seconds_waited: float

    def batch(self, step: int) -> Pairs:
        """The pairs of ``step``, the same ones whenever they are asked for."""
        ...


class Prefetched:
    """The batches of a stream, up to ``ahead`` steps before they are asked for; a context.

    Every draw has a generator of its own (:mod:`flowprior.training.randomness`), so the pairs are those of
    the stream itself, whichever thread makes them. An error of the worker is raised where its step is asked
    for.

    Args:
        pairs: the stream; nobody else may ask it meanwhile.
        ahead: steps that are prepared at most, 1 or more.
        steps: of the whole run.
    """

    def __init__(self, pairs: PairStream, ahead: int, steps: int) -> None:
        self._pairs, self._ahead, self._steps = pairs, ahead, steps
        self._worker = ThreadPoolExecutor(1, "pairs")
        self._queue: deque[tuple[int, Future[Pairs]]] = deque()
        self.seconds_waited = 0.0

    def __enter__(self) -> Prefetched:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.shutdown(cancel_futures=True)

    def batch(self, step: int) -> Pairs:
        """The pairs of ``step``; afterwards those of the next steps are under way."""
        begun = time.perf_counter()
        if self._queue and self._queue[0][0] != step:
            self._queue.clear()  # another step than the next one
        following = self._queue[-1][0] + 1 if self._queue else step
        for number in range(following, min(step + self._ahead + 1, self._steps)):
            self._queue.append((number, self._worker.submit(self._pairs.batch, number)))
        pairs = self._queue.popleft()[1].result()
        self.seconds_waited += time.perf_counter() - begun
        return pairs
