"""Products of the rows of a batch with the matrix of each row's group, many groups in one call."""

from __future__ import annotations

import torch
from torch import Tensor


def times_table(x: Tensor, rows: Tensor, tables: Tensor) -> Tensor:
    """x_i times the matrix of its row, ``[n, M]``: x ``[n, L]``, ``rows`` ``[n]``, tables ``[C, L, M]``."""
    if not len(x):
        return x.new_zeros(0, tables.shape[-1])
    keys, order = rows.sort(stable=True)
    values, counts = keys.unique_consecutive(return_counts=True)
    parts = x[order].split(counts.tolist())
    products = [part @ tables[row].to(x.dtype) for part, row in zip(parts, values.tolist(), strict=True)]
    return torch.cat(products)[order.argsort()]
