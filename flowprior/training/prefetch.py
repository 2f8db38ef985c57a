"""Batches of pairs that a worker thread prepares while the network works."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import torch

from flowprior.training.batches import Pairs, PairStream


class Prefetched:
    """The micro-batches of a stream, up to ``ahead`` of them before they are asked for; a context.

    Every draw has a generator of its own (:mod:`flowprior.training.randomness`), so the pairs are those of
    the stream itself, whichever thread makes them. An error of the worker is raised where its micro-batch is
    asked for.

    Args:
        pairs: the stream; nobody else may ask it meanwhile.
        parts: numbers of the micro-batches of a step that are asked for, in their order.
        ahead: micro-batches that are prepared at most, 1 or more.
        steps: of the whole run.
    """

    def __init__(self, pairs: PairStream, parts: range, ahead: int, steps: int) -> None:
        self._pairs, self._parts, self._ahead = pairs, parts, ahead
        self._end = steps * len(parts)
        device = pairs.randomness.device
        begin = partial(torch.cuda.set_device, device) if device.type == "cuda" else None
        self._worker = ThreadPoolExecutor(1, "pairs", begin)
        self._queue: deque[tuple[int, Future[Pairs]]] = deque()
        self.seconds_waited = 0.0

    def __enter__(self) -> Prefetched:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.shutdown(cancel_futures=True)

    def micro_batch(self, step: int, part: int = 0) -> Pairs:
        """The pairs of one part of ``step``; afterwards those of the next parts are under way."""
        begun = time.perf_counter()
        each = len(self._parts)
        place = step * each + self._parts.index(part)
        if self._queue and self._queue[0][0] != place:
            self._queue.clear()  # another one than the next
        following = self._queue[-1][0] + 1 if self._queue else place
        for number in range(following, min(place + self._ahead + 1, self._end)):
            later, index = divmod(number, each)
            future = self._worker.submit(self._pairs.micro_batch, later, self._parts[index])
            self._queue.append((number, future))
        pairs = self._queue.popleft()[1].result()
        self.seconds_waited += time.perf_counter() - begun
        return pairs
