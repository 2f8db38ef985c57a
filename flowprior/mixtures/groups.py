"""Rows of a batch that share condition and component."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor


def groups(rows: Tensor, component: Tensor) -> Iterator[tuple[Tensor, int, int]]:
    """Members ``[m]``, row of the tables and component of every such pair that occurs.

    Args:
        rows: of the parameter tables, int64 ``[B]``.
        component: int64 ``[B]``.
    """
    width = int(component.max()) + 1 if len(component) else 1
    keys, order = (rows * width + component).sort(stable=True)
    values, counts = keys.unique_consecutive(return_counts=True)
    for members, key in zip(order.split(counts.tolist()), values.tolist(), strict=True):
        yield members, key // width, key % width
