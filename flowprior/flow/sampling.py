"""How a model is sampled: in evaluation mode, in batches of rows, and solutions joined again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.conditions import Conditions, rows
from flowprior.errors import OptionError
from flowprior.processes.group import Group, compact
from flowprior.samplers import Solution, Velocity


@contextmanager
def evaluating(model: object) -> Iterator[None]:
    """Put a module into evaluation mode, and each of its parts back into its own mode afterwards.

    Who samples a model with dropout from several threads puts it into evaluation mode before.
    """
    modules = model.modules() if isinstance(model, nn.Module) else ()
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def check_batch_size(batch_size: int | None) -> None:
    """Refuse a size below 1.

    Raises:
        OptionError: it says which.
    """
    if batch_size is not None and batch_size < 1:
        raise OptionError(f"batch_size={batch_size} is not possible; choose 1 or more")


def batches(
    x: Tensor, cond: Conditions | None, batch_size: int | None
) -> Iterator[tuple[Tensor, Conditions | None]]:
    """x ``[N, *event]`` and its condition in batches; one, even of no rows, where ``batch_size`` is None.

    Raises:
        OptionError: a ``batch_size`` below 1.
    """
    check_batch_size(batch_size)
    size = batch_size or max(len(x), 1)
    for start in range(0, max(len(x), 1), size):
        part = slice(start, start + size)
        yield x[part], rows(cond, part)


def in_batches(velocity: Velocity, batch_size: int | None, group: Group) -> Velocity:
    """``velocity`` evaluated in batches of rows, for samplers whose noise is drawn for all rows at once.

    The batches are shared out over the processes of a group, which all call it with the same rows.
    """

    def evaluate(x: Tensor, t: Tensor, cond: Conditions | None) -> Tensor:
        size = for_group(batch_size, len(x), group)
        parts: list[Any] = list(zip(batches(x, cond, size), batches(t, None, size), strict=True))

        def work(row: Any) -> Tensor:
            (part, c), (times, _) = row
            return sent(velocity(part, times, c), group)

        return torch.cat(group.in_parts(work, parts)).to(x.device)

    return evaluate


def solve_batches(
    solve: Callable[[Tensor, Conditions | None], Solution],
    rows: Iterable[tuple[Tensor, Conditions | None]],
    group: Group,
) -> Solution:
    """One solution of all batches, which are shared out over the processes of a group.

    Every process of the group calls it with the same batches, and gets the whole.
    """

    def work(row: tuple[Tensor, Conditions | None]) -> Solution:
        found = solve(*row)
        path = None if found.trajectory is None else sent(found.trajectory, group)
        return Solution(sent(found.x, group), found.nfe, sent(found.times, group), path)

    held = list(rows)
    parts, device = group.in_parts(work, held), held[0][0].device
    paths = [part.trajectory for part in parts if part.trajectory is not None]
    return Solution(
        x=torch.cat([part.x for part in parts]).to(device),
        nfe=max(part.nfe for part in parts),  # those of the most expensive batch
        times=parts[0].times.to(device),
        trajectory=torch.cat(paths, dim=1).to(device) if paths else None,
    )


def for_group(batch_size: int | None, rows: int, group: Group) -> int | None:
    """``batch_size``, or less where some process of the group would get no batch of ``rows``."""
    if group.size == 1:
        return batch_size
    return max(1, min(batch_size or rows, -(-rows // group.size)))


def sent(x: Tensor, group: Group) -> Tensor:
    """A tensor as it goes to the other processes of a group, which may not have its device."""
    return x if group.size == 1 else compact(x)


def unmoved(x0: Tensor, trajectory: bool) -> Solution:
    """The solution that spends no evaluation: the source samples ``[B, *event]`` at time 0."""
    return Solution(x0, 0, x0.new_zeros(1), x0[None] if trajectory else None)
