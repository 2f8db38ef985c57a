"""Rows by their groups: functions of each group's entries in tables, and rows of one condition after another.

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
"""The number of rows that a condition shall have on average before they are handed on."""
JOINED_BYTES = 64 << 20
"""The largest number of bytes that are held back for that."""
LONGEST = 8192
"""The largest number of rows in a piece, so that what is computed of one stays small and its sums short."""
NUMBERS_OF_A_CALL = 15_000
"""The number of numbers that are gathered in the time that a call takes besides its arithmetic."""
GATHERED = 1 << 20
"""The number of numbers that are gathered at once, so that they stay in the cache."""


def joined(batches: Iterable[Batch], conditions: int) -> Iterator[Batch]:
    """Join ``batches`` until ``conditions`` have about ``ROWS_EACH`` rows each, or memory is full.

    Args:
        batches: of x ``[B, D]`` and labels ``[B]``, or None for one common condition.
        conditions: number of labels.
    """
    held: list[Batch] = []
    rows = 0
    for x, cond in batches:
        held.append((x, cond))
        rows += len(x)
        most = JOINED_BYTES // (x.shape[1] * x.element_size())
        if cond is None or rows >= min(conditions * ROWS_EACH, most):
            yield _join(held)
            held, rows = [], 0
    if held:
        yield _join(held)


def segments(
    batches: Iterable[Batch], conditions: int, active: Tensor | None = None
) -> Iterator[tuple[Tensor, int]]:
    """Yield rows ``[n, D]`` of one condition and its label, piece by piece; every row once.

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
        for label, rows in rows_of_each(cond.cpu()):
            if active is None or bool(active[label]):
                for piece in rows.split(LONGEST):
                    yield x.index_select(0, piece), label


def sorted_by(keys: Tensor) -> tuple[list[int], list[int], Tensor]:
    """Return the keys that occur, ascending, the number of rows of each, and the rows in that order, ``[n]``.

    Args:
        keys: of each row, int64 ``[n]``.
    """
    ascending, order = keys.sort(stable=True)
    values, counts = ascending.unique_consecutive(return_counts=True)
    return values.tolist(), counts.tolist(), order


def rows_of_each(keys: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield each key of :func:`sorted_by` and its rows ``[m]``."""
    values, counts, order = sorted_by(keys)
    return zip(values, order.split(counts), strict=True)


class Grouping:
    """The matrix that each row of a batch takes; sorted once, for all products with the matrices.

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
        return sorted_by(self.rows)

    @cached_property
    def places(self) -> Tensor:
        """The place of each row in the order of the groups, ``[n]``."""
        return self.sorted[2].argsort()


def times_table(x: Tensor, rows: Tensor | Grouping, tables: Tensor) -> Tensor:
    """Return x_i times the matrix of its row, ``[n, M]``: x ``[n, L]``, tables ``[C, L, M]``.

    Of k vectors of each row, x ``[n, k, L]``, as many, ``[n, k, M]``, in one product where rows are grouped.
    """
    return by_group(lambda table, own: own @ table, rows, tables, x)


def by_group(
    function: Callable[..., Tensor],
    rows: Tensor | Grouping,
    tables: Tensor | tuple[Tensor, ...],
    *values: Tensor,
) -> Tensor:
    """Return ``function(*tables, *values)`` of the rows of each group and its entries, in the values' dtype.

    Rows of one group are one call. Where groups are many for their rows and entries small, the entries are
    gathered instead, a few at a time: the function then sees values ``[n, 1, …]`` and entries ``[n, …]``.

    Args:
        function: of a group's entry of each table and of some rows of each value; a row of its result depends
            on that row alone.
        rows: of the tables, ``[n]``, or their grouping, where it is known.
        tables: ``[C, …]``, one or several.
        values: ``[n, L]``, or of k vectors a row ``[n, k, L]``.
    """
    tables = tables if isinstance(tables, tuple) else (tables,)
    dtype, grouping = values[0].dtype, rows if isinstance(rows, Grouping) else Grouping(rows)

    def of(group: int, *own: Tensor) -> Tensor:
        return function(*(table[group].to(dtype) for table in tables), *own)

    if len(tables[0]) == 1 or not len(grouping):  # without waiting for the device
        return of(0, *values)
    groups, counts, order = grouping.sorted
    if len(groups) == 1:
        return of(groups[0], *values)
    if gathers(len(grouping), len(groups), sum(table[0].numel() for table in tables)):
        return _gathered(function, grouping.rows, tables, *values)
    sorted_values = (value.index_select(0, order).split(counts) for value in values)
    results = torch.cat([of(*part) for part in zip(groups, *sorted_values, strict=True)])
    return results.index_select(0, grouping.places)


def gathers(rows: int, groups: int, size: int) -> bool:
    """Return whether gathering ``size`` numbers for each row costs less than a call for each group."""
    return rows * size < groups * NUMBERS_OF_A_CALL


def _gathered(
    function: Callable[..., Tensor], rows: Tensor, tables: tuple[Tensor, ...], *values: Tensor
) -> Tensor:
    """Return the result of :func:`by_group`, by gathering the entries of some rows at a time."""
    size, dtype = max(1, GATHERED // sum(table[0].numel() for table in tables)), values[0].dtype
    single = values[0].dim() == 2
    some = ((value[:, None] if single else value).split(size) for value in values)
    parts = zip(rows.split(size), *some, strict=True)
    results = torch.cat(
        [function(*(table.index_select(0, r).to(dtype) for table in tables), *own) for r, *own in parts]
    )
    return results[:, 0] if single else results


def _join(held: list[Batch]) -> Batch:
    if len(held) == 1:
        return held[0]
    return torch.cat([x for x, _ in held]), torch.cat([cond for _, cond in held if cond is not None])
