"""Sampling in batches: events with their conditions, a velocity in batches of rows, solutions joined."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from flowprior.errors import OptionError
from flowprior.samplers import Solution, Velocity


def batches(x: Tensor, cond: Tensor | None, batch_size: int | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """x ``[N, *event]`` and its condition in batches; one, even of no rows, where ``batch_size`` is None.

    Raises:
        OptionError: a ``batch_size`` below 1.
    """
    if batch_size is not None and batch_size < 1:
        raise OptionError(f"batch_size={batch_size} is not possible; choose 1 or more")
    size = batch_size or max(len(x), 1)
    for start in range(0, max(len(x), 1), size):
        rows = slice(start, start + size)
        yield x[rows], None if cond is None else cond[rows]


def in_batches(velocity: Velocity, batch_size: int | None) -> Velocity:
    """``velocity`` evaluated in batches of rows, for samplers whose noise is drawn for all rows at once."""

    def evaluate(x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        rows = zip(batches(x, cond, batch_size), batches(t, None, batch_size), strict=True)
        return torch.cat([velocity(part, times, c) for (part, c), (times, _) in rows])

    return evaluate


def unmoved(x0: Tensor, trajectory: bool) -> Solution:
    """The solution that spends no evaluation: the source samples ``[B, *event]`` at time 0."""
    return Solution(x0, 0, x0.new_zeros(1), x0[None] if trajectory else None)


def joined(parts: list[Solution]) -> Solution:
    """One solution from those of the batches; the evaluations are those of the most expensive batch."""
    trajectories = [part.trajectory for part in parts if part.trajectory is not None]
    return Solution(
        x=torch.cat([part.x for part in parts]),
        nfe=max(part.nfe for part in parts),
        times=parts[0].times,
        trajectory=torch.cat(trajectories, dim=1) if trajectories else None,
    )
