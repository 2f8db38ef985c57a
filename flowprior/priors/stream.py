"""What ``Prior.fit`` reads: a stream of (x1, c) batches, checked at the boundary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import Any, cast

import torch
from torch import Tensor

from flowprior.errors import InputError

Batch = tuple[Tensor, Tensor | None]
FitData = Iterable[Batch] | tuple[Tensor, Tensor | None] | Tensor


class CheckedBatches:
    """A re-iterable stream of flat batches (x ``[B, D]``, c), checked once at the boundary.

    Checked are finiteness, event shape, dtype and kind of condition.
    """

    chunk = 4096

    def __init__(self, data: FitData, owner: str) -> None:
        self.owner = owner
        if isinstance(data, Tensor):
            data = (data, None)
        self._pair = data if _is_pair(data) else None
        self._data = data
        if self._pair is None and not isinstance(data, Sized) and iter(data) is data:
            raise InputError(
                f"{owner}.fit: expected data that can be iterated more than once, got a one-shot iterator; "
                "pass a DataLoader, a list of batches or a pair of tensors"
            )
        self._first: Batch | None = None

    def peek(self) -> Batch:
        """The first batch, in the event's own shape."""
        if self._first is None:
            self._first = next(iter(self._raw()), None)
        if self._first is None or len(self._first[0]) == 0:
            raise InputError(f"{self.owner}.fit: expected at least one example, got an empty data set")
        return self._first

    def __iter__(self) -> Iterator[Batch]:
        first_x, first_c = self.peek()
        for x, c in self._raw():
            self._check(x, c, first_x, first_c)
            yield x.flatten(1), c

    def _raw(self) -> Iterator[Batch]:
        if self._pair is None:
            for batch in self._data:
                yield (batch, None) if isinstance(batch, Tensor) else cast("Batch", tuple(batch))
            return
        x, c = self._pair
        if c is not None and len(c) != len(x):
            raise InputError(f"{self.owner}.fit: x has {len(x)} rows but the condition has {len(c)}")
        for start in range(0, len(x), self.chunk):
            stop = start + self.chunk
            yield x[start:stop], None if c is None else c[start:stop]

    def _check(self, x: Tensor, c: Tensor | None, first_x: Tensor, first_c: Tensor | None) -> None:
        where = f"{self.owner}.fit"
        if x.dim() < 2 or x.dtype not in (torch.float32, torch.float64):
            raise InputError(
                f"{where}: expected x1 of shape [B, *event] in float32 or float64, "
                f"got {x.dtype} of shape {list(x.shape)}"
            )
        if x.shape[1:] != first_x.shape[1:] or x.dtype != first_x.dtype:
            raise InputError(
                f"{where}: the event changes between batches, from {first_x.dtype} {list(first_x.shape[1:])} "
                f"to {x.dtype} {list(x.shape[1:])}"
            )
        if not torch.isfinite(x).all():
            bad = int((~torch.isfinite(x)).flatten(1).any(1).sum())
            raise InputError(
                f"{where}: expected finite data, got NaN or infinity in {bad} of {len(x)} rows of a batch; "
                "clean or drop those rows"
            )
        if (c is None) != (first_c is None) or (c is not None and len(c) != len(x)):
            raise InputError(f"{where}: expected one condition for each of {len(x)} rows, got {_shape(c)}")


def _is_pair(data: Any) -> bool:
    return (
        isinstance(data, tuple | list)
        and len(data) == 2
        and isinstance(data[0], Tensor)
        and (data[1] is None or isinstance(data[1], Tensor))
    )


def _shape(c: Tensor | None) -> str:
    return "None" if c is None else f"{c.dtype} {list(c.shape)}"
