"""Rows of one condition after another, in pieces that stay worth a call however many conditions there are.

A batch of 1,000 rows under 1,000 labels is 1,000 pieces of one row, and a pass over the data then costs its
calls, not its arithmetic. Batches are therefore joined until every condition has some rows of them, within
a fixed memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from flowprior.mixtures.moments import Batch

ROWS_EACH = 256
"""Rows that a condition shall have on average before they are handed on."""
JOINED_BYTES = 64 << 20
"""Most that is held back for that."""
LONGEST = 8192
"""Most rows in a piece, so that what is computed of one stays small and its sums short."""


def joined(batches: Iterable[Batch], conditions: int) -> Iterator[Batch]:
    """``batches`` joined until ``conditions`` have about ``ROWS_EACH`` rows each, or memory is full.

    Args:
        batches: of x ``[B, D]`` and labels ``[B]``, or None for one common condition.
        conditions: number of labels.
    """
    held: list[Batch] = []
    rows = 0
    for x, cond in batches:
        held.append((x, cond))
        rows += len(x)
        most = JOINED_BYTES // max(x.shape[1] * x.element_size(), 1)
        if cond is None or rows >= min(conditions * ROWS_EACH, most):
            yield _join(held)
            held, rows = [], 0
    if held:
        yield _join(held)


def segments(
    batches: Iterable[Batch], conditions: int, active: Tensor | None = None
) -> Iterator[tuple[Tensor, int]]:
    """Rows ``[n, D]`` of one condition and its label, piece by piece; every row once.

    Args:
        batches: of x ``[B, D]`` and labels ``[B]``, or None for one common condition, 0.
        conditions: number of labels.
        active: bool ``[conditions]``; rows of the others are left out.
    """
    for x, cond in joined(batches, conditions):
        x = x.detach().cpu()
        if cond is None:
            yield x, 0
            continue
        labels, order = cond.cpu().sort(stable=True)
        values, counts = labels.unique_consecutive(return_counts=True)
        for label, rows in zip(values.tolist(), order.split(counts.tolist()), strict=True):
            if active is None or bool(active[label]):
                for piece in rows.split(LONGEST):
                    yield x.index_select(0, piece), label


def groups(rows: Tensor, component: Tensor) -> Iterator[tuple[Tensor, int, int]]:
    """Members ``[m]`` of a batch that share a row and a component, with both; every such pair that occurs.

    Args:
        rows: of the parameter tables, int64 ``[B]``.
        component: int64 ``[B]``.
    """
    width = int(component.max()) + 1 if len(component) else 1
    keys, order = (rows * width + component).sort(stable=True)
    values, counts = keys.unique_consecutive(return_counts=True)
    for members, key in zip(order.split(counts.tolist()), values.tolist(), strict=True):
        yield members, key // width, key % width


def _join(held: list[Batch]) -> Batch:
    if len(held) == 1:
        return held[0]
    x, cond = zip(*held, strict=True)
    return torch.cat(x), torch.cat(cond)
