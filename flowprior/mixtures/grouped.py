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

    Rows of one group are one product. Where groups are many for their rows and matrices small, the matrices
    are gathered instead, a few at a time, and multiplied in one call.
    """
    if not len(x):
        return x.new_zeros(0, tables.shape[-1])
    if len(tables) == 1:
        return x @ tables[0].to(x.dtype)
    keys, order = rows.sort(stable=True)
    values, counts = keys.unique_consecutive(return_counts=True)
    if len(values) == 1:
        return x @ tables[int(values[0])].to(x.dtype)
    if gathers(len(x), len(values), tables[0].numel()):
        return in_gathered(lambda part, table: torch.bmm(part[:, None], table)[:, 0], x, rows, tables)
    parts = x[order].split(counts.tolist())
    products = [part @ tables[row].to(x.dtype) for part, row in zip(parts, values.tolist(), strict=True)]
    return torch.cat(products)[order.argsort()]


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
