"""The operators on the card: their times, the peers' in the same run, and bytes over the rate of a copy.

A call that is started from Python takes at least the microseconds of its start. So our operators are timed a
second time as replays of a CUDA graph, and it is of these that the share of the copy's rate is taken. Small
sizes lie in the card's cache, where a share above 1 is possible; the large one does not.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.gpu.bandwidth import Call, copy_rate, replay_of, seconds_of
from benchmarks.gpu.problems import Contest, contests
from benchmarks.gpu.steps import Job, StepError, Values
from benchmarks.operators.peers import MissingError
from benchmarks.operators.problem import Problem
from flowprior.ops.backend import backend, native_devices

SIZES = ((16_384, 3072, 8), (256, 3072, 1), (256, 3072, 8), (512, 784, 1), (512, 784, 8))
"""(rows, numbers of an event, components); the first does not fit into a card's cache."""
SMALLEST = ((5, 7, 2),)
LEAST = 5.0
"""Seconds without which no further operator is begun."""


def run(job: Job) -> Values:
    """Our operators and the peers at every size, the most telling one first.

    Raises:
        StepError: the operators are not native on the card.
    """
    if not job.rehearsal and job.device not in native_devices():
        raise StepError(f"the operators are not native on {job.device}: {backend()}")
    rate = copy_rate(job.device)
    values: Values = {"backend": str(backend()), "copy_rate": rate, "left_out": None, "rows": []}
    for size in SMALLEST if job.rehearsal else SIZES:
        for contest in contests(Problem(*size), job.device):
            if job.left < LEAST:
                values["left_out"] = f"from {contest.name}, {_told(size)} on: the time was up"
                return values
            values["rows"].append(_row(contest, size, job.device, rate))
            job.report(values)
    return values


def _row(contest: Contest, size: tuple[int, ...], device: str, rate: float) -> Values:
    """Milliseconds of each way, and the share of the copy's rate."""
    own = seconds_of(contest.ours, device)
    replayed = _replayed(contest, device)
    ways = {"eager": contest.eager, **contest.packages}
    found = {name: _milliseconds(make, device) for name, make in ways.items()}
    return {
        "operator": contest.name,
        "size": _told(size),
        "moved": contest.moved,
        "milliseconds": own * 1e3,
        "replayed": None if replayed is None else replayed * 1e3,
        "share_of_copy": contest.moved / (replayed or own) / rate,
        "peers": {name: taken for name, taken in found.items() if taken is not None},
    }


def _replayed(contest: Contest, device: str) -> float | None:
    """Seconds of our call as the replay of a graph, None where there is none or it cannot be captured."""
    if device == "cpu":
        return None
    try:
        return seconds_of(replay_of(contest.ours), device)
    except RuntimeError:
        return None


def _milliseconds(make: Callable[[], Call], device: str) -> float | None:
    """Milliseconds of a peer's call, None where it is not installed or needs more memory than there is.

    Noise that it draws is the device's.
    """
    try:
        with torch.device(device):
            return seconds_of(make(), device) * 1e3
    except (MissingError, torch.OutOfMemoryError):
        return None


def _told(size: tuple[int, ...]) -> str:
    batch, dim, components = size
    return f"{batch} x {dim}, K = {components}"
