"""Products of the rows of a batch with the matrix of each row's group, many groups in one call."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

NUMBERS_OF_A_CALL = 15_000
"""Numbers that are gathered in the time that a call takes besides its arithmetic."""
GATHERED = 1 << 20
"""Numbers that are gathered at once, so that they stay in the cache."""


def times_table(x: Tensor, rows: Tensor, tables: Tensor) -> Tensor:
    """x_i times the matrix of its row, ``[n, M]``: x ``[n, L]``, ``rows`` ``[n]``, tables ``[C, L, M]``.

    Of k vectors of each row, x ``[n, k, L]``, as many, ``[n, k, M]``, in one product where rows are grouped.
    """
    if x.dim() == 3:
        count = x.shape[1]
        return times_table(x.flatten(0, 1), rows.repeat_interleave(count), tables).unflatten(0, (-1, count))
    return by_group(lambda table, own: own @ table, rows, tables, x)


def there_and_back(y: Tensor, x: Tensor, rows: Tensor, tables: Tensor) -> Tensor:
    """(y_i − x_i T) Tᵀ with T the matrix of its row, ``[n, L]``: y ``[n, M]``, x ``[n, L]``, T ``[L, M]``.

    Each matrix is read once, as :func:`times_table` twice in a row would not.
    """
    return by_group(lambda table, to, own: (to - own @ table) @ table.mT, rows, tables, y, x)


def by_group(function: Callable[..., Tensor], rows: Tensor, tables: Tensor, *values: Tensor) -> Tensor:
    """``function(table, *values)`` of the rows of each group and the group's matrix, in the values' dtype.

    Rows of one group are one call. Where groups are many for their rows and matrices small, the matrices are
    gathered instead, a few at a time: the function then sees values ``[n, 1, …]`` and tables ``[n, L, M]``.

    Args:
        function: of a matrix and some rows of each value; a row of its result depends on that row alone.
        rows: of the tables, ``[n]``.
        tables: ``[C, L, M]``.
        values: ``[n, …]``.
    """
    dtype = values[0].dtype
    if not len(rows):
        return function(tables.new_zeros(tables.shape[1:], dtype=dtype), *values)
    if len(tables) == 1:  # without waiting for the device
        return function(tables[0].to(dtype), *values)
    keys, order = rows.sort(stable=True)
    groups, counts = keys.unique_consecutive(return_counts=True)
    if len(groups) == 1:
        return function(tables[int(groups[0])].to(dtype), *values)
    if gathers(len(rows), len(groups), tables[0].numel()):
        size = max(1, GATHERED // tables[0].numel())
        some = zip(rows.split(size), *(value[:, None].split(size) for value in values), strict=True)
        return torch.cat([function(tables[r].to(dtype), *own)[:, 0] for r, *own in some])
    parts = zip(groups.tolist(), *(value[order].split(counts.tolist()) for value in values), strict=True)
    return torch.cat([function(tables[g].to(dtype), *own) for g, *own in parts])[order.argsort()]


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
