"""Rows by their groups: products with the matrix of each group, and rows of one condition after another.

Many groups go in one call, and pieces of one condition stay worth a call however many conditions there are: a
batch of 1,000 rows under 1,000 labels is 1,000 pieces of one row, and a pass over the data then costs its
calls, not its arithmetic. Batches are therefore joined until every condition has some rows of them, within a
fixed memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

import torch
from torch import Tensor

from flowprior.streams.batches import Batch

ROWS_EACH = 256
"""Rows that a condition shall have on average before they are handed on."""
JOINED_BYTES = 64 << 20
"""Most that is held back for that."""
LONGEST = 8192
"""Most rows in a piece, so that what is computed of one stays small and its sums short."""
NUMBERS_OF_A_CALL = 15_000
"""Numbers that are gathered in the time that a call takes besides its arithmetic."""
GATHERED = 1 << 20
"""Numbers that are gathered at once, so that they stay in the cache."""


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


class Grouping:
    """Which matrix each row of a batch takes; sorted once, for all products with the matrices.

    Args:
        rows: of a table of matrices, ``[n]``.
    """

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def sorted(self) -> tuple[list[int], list[int], Tensor]:
        """The matrices that occur, ascending, rows of each, and the rows in that order, ``[n]``."""
        keys, order = self.rows.sort(stable=True)
        groups, counts = keys.unique_consecutive(return_counts=True)
        return groups.tolist(), counts.tolist(), order

    @cached_property
    def places(self) -> Tensor:
        """Where in the order of the groups each row lies, ``[n]``."""
        return self.sorted[2].argsort()


def times_table(x: Tensor, rows: Tensor | Grouping, tables: Tensor) -> Tensor:
    """x_i times the matrix of its row, ``[n, M]``: x ``[n, L]``, ``rows`` ``[n]``, tables ``[C, L, M]``.

    Of k vectors of each row, x ``[n, k, L]``, as many, ``[n, k, M]``, in one product where rows are grouped.
    """
    return by_group(lambda table, own: own @ table, rows, tables, x)


def by_group(
    function: Callable[[Tensor, Tensor], Tensor], rows: Tensor | Grouping, tables: Tensor, x: Tensor
) -> Tensor:
    """Return ``function(table, x)`` of the rows of each group and the group's matrix, in the dtype of x.

    Rows of one group are one call. Where groups are many for their rows and matrices small, the matrices are
    gathered instead, a few at a time: the function then takes rows ``[n, 1, …]`` and tables ``[n, L, M]``.

    Args:
        function: of a matrix and some rows; a row of its result depends on that row alone.
        rows: of the tables, ``[n]``, or their grouping, where it is known.
        tables: ``[C, L, M]``.
        x: ``[n, L]``, or of k vectors a row ``[n, k, L]``.
    """
    dtype, grouping = x.dtype, rows if isinstance(rows, Grouping) else Grouping(rows)
    if not len(grouping):
        return function(tables.new_zeros(tables.shape[1:], dtype=dtype), x)
    if len(tables) == 1:  # without waiting for the device
        return function(tables[0].to(dtype), x)
    groups, counts, order = grouping.sorted
    if len(groups) == 1:
        return function(tables[groups[0]].to(dtype), x)
    if gathers(len(grouping), len(groups), tables[0].numel()):
        return _gathered(function, grouping.rows, tables, x)
    parts = zip(groups, x.index_select(0, order).split(counts), strict=True)
    results = torch.cat([function(tables[g].to(dtype), own) for g, own in parts])
    return results.index_select(0, grouping.places)


def gathers(rows: int, groups: int, size: int) -> bool:
    """Whether gathering a matrix of ``size`` numbers for each row costs less than a call for each group."""
    return rows * size < groups * NUMBERS_OF_A_CALL


def in_gathered(function: Callable[..., Tensor], x: Tensor, rows: Tensor, *tables: Tensor) -> Tensor:
    """``function(x, *tables)`` of rows x ``[n, …]`` and each row's entries of ``tables``, in x's dtype.

    Args:
        function: of some rows at a time.
        x: ``[n, …]``.
        rows: of the tables, ``[n]``.
        tables: each ``[C, …]``.
    """
    size = max(1, GATHERED // max(table[0].numel() for table in tables))
    parts = zip(x.split(size), rows.split(size), strict=True)
    return torch.cat([function(part, *(table[r].to(x.dtype) for table in tables)) for part, r in parts])


def _gathered(
    function: Callable[[Tensor, Tensor], Tensor], rows: Tensor, tables: Tensor, x: Tensor
) -> Tensor:
    """As :func:`by_group`, by the matrices of some rows at a time."""
    size, single = max(1, GATHERED // tables[0].numel()), x.dim() == 2
    parts = zip(rows.split(size), (x[:, None] if single else x).split(size), strict=True)
    results = torch.cat([function(tables.index_select(0, r).to(x.dtype), own) for r, own in parts])
    return results[:, 0] if single else results


def _join(held: list[Batch]) -> Batch:
    if len(held) == 1:
        return held[0]
    x, cond = zip(*held, strict=True)
    return torch.cat(x), torch.cat(cond)
