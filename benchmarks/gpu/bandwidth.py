"""Times of calls on the device, by its own clock, and the rate of a plain copy."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

Call = Callable[[], Any]
ROUNDS = 5
ROUND = 20e-3
"""Seconds of the calls of a round, at most ``MOST`` of them."""
MOST = 1000
COPIED = 1 << 30
"""Bytes of the tensor that is copied on a card: many times its cache."""
COPIED_BY_CPU = 1 << 22


def seconds_of(call: Call, device: str) -> float:
    """Median seconds of a call over rounds of several, after calls that do not count.

    On a card the calls of a round are put in its queue one after the other, between two events of its clock.
    Where they are shorter than it takes to put them there, that is what is timed.
    """
    for _ in range(3):
        call()
    count = max(1, min(MOST, int(ROUND / max(_round(call, 1, device), 1e-7))))
    return statistics.median(_round(call, count, device) for _ in range(ROUNDS))


def _round(call: Call, count: int, device: str) -> float:
    """Mean seconds of ``count`` calls."""
    if device == "cpu":
        begun = time.perf_counter()
        for _ in range(count):
            call()
        return (time.perf_counter() - begun) / count
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    before.record()
    for _ in range(count):
        call()
    after.record()
    torch.cuda.synchronize()
    return before.elapsed_time(after) / 1e3 / count


def replay_of(call: Call) -> Call:
    """The call, captured in a CUDA graph: its replay, which needs nothing of the host but the start."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = call()

    def replay() -> Any:
        graph.replay()
        return kept  # what the graph writes into

    return replay


def copy_rate(device: str) -> float:
    """Bytes a second that ``Tensor.copy_`` reads and writes on ``device``."""
    size = COPIED if device == "cuda" else COPIED_BY_CPU
    source = torch.ones(size // 4, device=device).normal_()
    target = torch.empty_like(source)
    return 2 * size / seconds_of(lambda: target.copy_(source), device)
