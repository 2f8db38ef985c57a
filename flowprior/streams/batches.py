"""The stream of (x1, c) batches that ``Prior.fit`` reads, checked at the boundary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from itertools import repeat
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from flowprior.conditions import Conditions, Parts, TokenStates
from flowprior.conditions.condition import MOST_LABELS
from flowprior.conditions.rows import as_value, flat
from flowprior.display.shown import counted, shape_of
from flowprior.errors import InputError
from flowprior.streams.data import Data, every_condition
from flowprior.streams.datasets import data_of_dataset
from flowprior.streams.user_tensors import is_array, plain_rows, plain_tensor

Batch = tuple[Tensor, Tensor | None]
TABLE_BYTES_LIMIT = 2 << 30
"""Memory of a table of one event a label; mixtures hold several such tables."""
FitData = (
    Iterable[tuple[Tensor, Conditions | None]]
    | tuple[Tensor, Conditions | Mapping[str, Any] | None]
    | Tensor
    | np.ndarray
    | Data
    | Dataset
)


class CheckedBatches:
    """A re-iterable stream of flat batches (x ``[B, D]``, c), checked once at the boundary.

    Conditions that are tensors, such as pictures, are flat, too: ``[B, E]``, as embeddings are.

    Checked are finiteness, event shape, dtype and kind of condition. NumPy arrays become tensors, labels
    ``[B]`` or ``[B, 1]`` of any integer type int64 ``[B]``. A :class:`flowprior.data.Data` or a map-style
    torch Dataset gives its events as training gets them, those with several conditions once with each;
    tensors and arrays keep scale and layout, for the samples of a prior lie where the events of your own loop
    do.

    Args:
        data: what ``Prior.fit`` takes.
        owner: who asks, for messages.
        read: from a condition to the part that is read; None reads what is no mapping of parts.
        told: called with the number of rows that were read in all passes together, after each batch.

    Attributes:
        groups: int64 ``[N]``, of rows that are held out together, in their order; None of other data.
        examples: number of rows, once a pass has ended; None before.
    """

    chunk = 8192

    def __init__(
        self,
        data: FitData,
        owner: str,
        read: Callable[[Any], Tensor | None] | None = None,
        told: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self.owner = owner
        self.examples: int | None = None
        self._told, self._rows_read, self._labels = told, 0, 0
        self._read_part = read
        if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
            data = data_of_dataset(data)
        if isinstance(data, Data):
            data = every_condition(data).batches()
        if is_array(data):
            data = (cast("Tensor", data), None)
        if not isinstance(data, Iterable):
            raise InputError(
                f"{owner}.fit: expected a tensor, a pair (x1, c) or an iterable of such batches, "
                f"got {type(data).__name__}"
            )
        self._pair = cast("Batch", tuple(data)) if _is_pair(data) else None
        self._data = data
        self.groups: Tensor | None = getattr(data, "groups", None)
        if self._pair is None and not isinstance(data, Sized) and iter(data) is data:
            raise InputError(
                f"{owner}.fit: expected data that can be iterated more than once, got a one-shot iterator; "
                "pass a DataLoader, a list of batches or a pair of tensors"
            )
        self._first: Batch | None = None
        self._known_finite = False

    def peek(self) -> Batch:
        """Return the first batch that has rows, checked, in the event's own shape."""
        if self._first is None:
            first = next((batch for batch in self._raw() if batch[0].numel()), None)
            if first is None:
                raise InputError(f"{self.owner}.fit: expected at least one example, got an empty data set")
            self._check(*first, *first)
            self._first = first
        return self._first

    def __iter__(self) -> Iterator[Batch]:
        first_x, first_c = self.peek()
        rows = 0
        for x, c in self._raw():
            self._check(x, c, first_x, first_c)
            if len(x):
                rows, self._rows_read = rows + len(x), self._rows_read + len(x)
                self._told(self._rows_read)
                yield x.flatten(1), c if c is None else flat(c)
        self._known_finite, self.examples = True, rows

    def describe(self) -> str:
        """Return ``1,437 examples of shape [1, 8, 8] with labels 0..9``, as far as it is known."""
        x, c = self.peek()
        count = "examples of" if self.examples is None else f"{counted(self.examples, 'example')} of"
        return f"{count} shape {shape_of(x.shape[1:])} {self._condition(c)}"

    def _condition(self, c: Tensor | None) -> str:
        """Describe the condition in words."""
        if c is None:
            return "without a condition"
        if not c.is_floating_point():
            return f"with labels 0..{self._labels - 1}"
        return f"with {'embeddings' if c.dim() == 2 else 'conditions'} {shape_of(c.shape[1:])}"

    def check_groups(self, rows: int) -> None:
        """Check that ``groups`` has a whole number for each of so many rows.

        Raises:
            InputError: it has not.
        """
        groups = self.groups
        if groups is not None and (groups.is_floating_point() or groups.shape != (rows,)):
            raise InputError(
                f"{self.owner}.fit: expected groups as whole numbers, one for each of {rows} rows, got "
                f"{_shape(groups)}"
            )

    def labelled(self) -> Iterator[Batch]:
        """Yield the same batches, with few enough labels for a table of them.

        Raises:
            InputError: a label so high that its table would not fit in memory.
        """
        for x, c in self:
            if c is not None and int(c.max()) * x.shape[1] * 8 > TABLE_BYTES_LIMIT:
                raise self._too_high(int(c.max()))
            yield x, c

    def _too_high(self, label: int) -> InputError:
        return InputError(
            f"{self.owner}.fit: cond has label {label}, too high for a table of all the labels below it "
            f"(at most {MOST_LABELS:,}, and {TABLE_BYTES_LIMIT >> 30} GiB); number the labels 0, 1, 2, …"
        )

    def _raw(self) -> Iterator[Batch]:
        where = f"{self.owner}.fit"
        batches = self._data if self._pair is None else self._cut(*self._pair)
        for batch in batches:
            x, c = self._read(batch)
            c = as_value(c)
            if isinstance(c, Parts | TokenStates):
                self._check_rows(x, c)
            if self._read_part is not None and c is not None:
                c = self._read_part(c)
            yield plain_tensor(x, "x1", where), None if c is None else plain_rows(c, where)

    def _check_rows(self, x: Tensor, c: Any) -> None:
        rows = c.shape[:1] if is_array(c) else (len(c),)
        if tuple(rows) != tuple(x.shape[:1]):
            raise InputError(
                f"{self.owner}.fit: expected one condition for each row of x1 {list(x.shape)}, got "
                f"{_shape(c) if is_array(c) else len(c)}"
            )

    def _cut(self, x: Tensor, c: Any) -> Iterator[Batch]:
        """Cut a pair of whole tensors into batches of ``chunk`` rows."""
        x, c = plain_tensor(x, "x1", f"{self.owner}.fit"), as_value(c)
        if is_array(c):
            c = plain_rows(c, f"{self.owner}.fit")
        if c is not None:
            self._check_rows(x, c)
        chunks = x.split(self.chunk) if x.dim() else [x]
        yield from zip(chunks, repeat(None, len(chunks)) if c is None else c.split(self.chunk), strict=True)

    def _read(self, batch: Any) -> Batch:
        """Return x1 and c of a batch: (x1, c), [x1] or x1."""
        if is_array(batch):
            return batch, None
        parts = tuple(batch) if isinstance(batch, tuple | list) else ()
        if len(parts) == 1 and is_array(parts[0]):
            return parts[0], None
        if not _is_pair(parts):
            held = ", ".join(type(part).__name__ for part in parts)
            raise InputError(
                f"{self.owner}.fit: expected batches (x1, c) of tensors, or x1 alone, got "
                f"{type(batch).__name__}{f' of {held}' if held else ''}"
            )
        return cast("Batch", parts)

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
        if not self._known_finite and not torch.isfinite(x.sum()) and not torch.isfinite(x).all():
            bad = int((~torch.isfinite(x)).flatten(1).any(1).sum())
            raise InputError(
                f"{where}: expected finite data, got NaN or infinity in {bad} of {len(x)} rows of a batch; "
                "clean or drop those rows"
            )
        if (c is None) != (first_c is None):
            raise InputError(f"{where}: expected one condition for each of {len(x)} rows, got {_shape(c)}")
        if c is None or first_c is None:
            return
        self._check_rows(x, c)
        if c.dtype == torch.long and len(c):
            if int(c.min()) < 0:
                raise InputError(f"{where}: cond has label {int(c.min())}, expected labels >= 0")
            self._labels = max(self._labels, int(c.max()) + 1)
            if self._labels > MOST_LABELS:
                raise self._too_high(self._labels - 1)
        if (c.is_floating_point(), c.dim()) != (first_c.is_floating_point(), first_c.dim()):
            raise InputError(
                f"{where}: the condition changes between batches, from {_shape(first_c)} to {_shape(c)}"
            )
        if c.dim() > 2 and c.shape[1:] != first_c.shape[1:]:
            raise InputError(f"{where}: expected conditions {list(first_c.shape[1:])}, got {_shape(c)}")


def _is_pair(data: Any) -> bool:
    """Return True for a tuple (x, c), or a list whose second part cannot be another batch of events."""
    if not isinstance(data, tuple | list) or len(data) != 2 or not is_array(data[0]):
        return False
    second = data[1]
    if isinstance(second, np.ndarray):
        return isinstance(data, tuple) or second.dtype.kind != "f"
    if isinstance(second, Tensor):
        return isinstance(data, tuple) or not second.is_floating_point()
    return second is None or isinstance(second, Mapping | Parts | TokenStates)


def refuse_float_labels(c: Tensor | None, where: str) -> None:
    """Refuse a condition that is neither labels nor embeddings: floating-point numbers ``[B]``.

    Raises:
        InputError: it says what each of the two would be.
    """
    if c is not None and c.dim() == 1 and c.is_floating_point():
        raise InputError(
            f"{where}: expected labels as integers [B] or embeddings [B, E], got {_shape(c)}; pass "
            "cond.long() for labels, cond[:, None] for an embedding of one number"
        )


def _shape(c: Tensor | None) -> str:
    return "None" if c is None else f"{c.dtype} {list(c.shape)}"
