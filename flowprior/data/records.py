"""Data that are read record by record, of which a few may be corrupt."""

from __future__ import annotations

import abc
import copy

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.data.base import Data
from flowprior.data.corrupt import CorruptRecords
from flowprior.errors import InputError

AT_ONCE = 64
"""Records that are read at once where only their conditions are wanted."""


class RecordData(Data):
    """Events that are read from records; a corrupt one is replaced by the next readable one that is like it.

    Like it means: of the same label where there are labels, else any; the first follows the last. Which
    record that is hangs on the files alone, so that every process and every resumed run gets the same batch,
    and the replacement brings its own condition. What is found corrupt before the data set has a length is
    left out of it instead.

    A subclass reads events and conditions, and calls :meth:`find_shape` last in its constructor where the
    files do not say the shape of an event.

    Args:
        name: for messages and tables.
        count: how many records there are.
        labels: int64 ``[count]`` where the condition is a label, else None.
        corrupt: counts what cannot be read.
    """

    def __init__(self, name: str, count: int, labels: Tensor | None, corrupt: CorruptRecords) -> None:
        self.name, self.labels, self._count = name, labels, count
        self.corrupt = self._corrupt = corrupt
        self._part: Tensor | None = None
        self._stand_ins: dict[int, int] = {}
        self._is_readable = torch.zeros(count, dtype=torch.bool)

    @abc.abstractmethod
    def read_events(self, numbers: list[int]) -> list[Tensor | InputError]:
        """The events float32 ``[*event]`` of these records, or why one cannot be read, in their order."""

    @abc.abstractmethod
    def record_name(self, number: int) -> str:
        """What a message calls a record: its file and its key there."""

    def conditions_of(self, numbers: Tensor) -> Conditions | None:
        """The conditions of these records themselves, whether they can be read or not."""
        return None if self.labels is None else self.labels[numbers]

    def __len__(self) -> int:
        return self._count

    def batch(self, indices: Tensor) -> tuple[Tensor, Conditions | None]:
        """Events ``[B, *event]`` and conditions, a corrupt record replaced by another one."""
        x, numbers = self._readable(indices)
        return x, self.conditions_of(numbers)

    def conditions(self, indices: Tensor) -> Conditions | None:
        """The conditions alone, those of :meth:`batch`; of labels without reading any event."""
        if self.labels is not None or self.condition.kind == "none":
            return self.conditions_of(indices)
        for unknown in indices[~self._is_readable[indices]].split(AT_ONCE):
            self._readable(unknown)
        numbers = [self._stand_ins.get(index, index) for index in indices.tolist()]
        return self.conditions_of(torch.tensor(numbers, dtype=torch.long))

    def within(self, indices: Tensor) -> RecordData:
        """The same data, where a corrupt record is replaced by one of ``indices`` alone."""
        part = copy.copy(self)
        part._part = indices.sort().values
        part._stand_ins = {}
        return part

    def find_shape(self) -> None:
        """Take the shape of the first record that can be read for that of every event.

        Raises:
            InputError: more records before it are corrupt than may be.
        """
        for number in range(self._count):
            event = self.read_events([number])[0]
            if isinstance(event, Tensor):
                self.event_shape = event.shape
                return
            self._note(number, event)
        raise InputError(f"{self.name}: expected a record that can be read, got none of {self._count:,}")

    def _readable(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Events ``[B, *event]`` and the numbers int64 ``[B]`` of the records that they come from."""
        wanted: list[int] = indices.tolist()
        numbers = [self._stand_ins.get(index, index) for index in wanted]
        x, wrong = self._read(numbers)
        for place, reason in sorted(wrong.items()):
            numbers[place], x[place] = self._replace(wanted[place], numbers[place], reason)
        found = torch.tensor(numbers, dtype=torch.long)
        self._is_readable[found] = True
        return x, found

    def _read(self, numbers: list[int]) -> tuple[Tensor, dict[int, InputError]]:
        """Events ``[B, *event]``, and what is wrong with those that are none, by their place."""
        events = self.read_events(numbers)
        x, wrong = torch.zeros(len(numbers), *self.event_shape), {}
        for place, event in enumerate(events):
            if isinstance(event, Tensor) and event.shape == self.event_shape:
                x[place] = event
            else:
                wrong[place] = event if isinstance(event, InputError) else self._other_shape(event)
        if not torch.isfinite(x.sum()):
            for place in torch.nonzero(~torch.isfinite(x).flatten(1).all(dim=1)).flatten().tolist():
                wrong[place] = InputError("it holds NaN or infinite numbers")
        return x, wrong

    def _other_shape(self, event: Tensor) -> InputError:
        return InputError(f"expected an event {list(self.event_shape)} as the first, got {list(event.shape)}")

    def _replace(self, index: int, number: int, reason: InputError) -> tuple[int, Tensor]:
        """The number and the event of the record that stands for ``index``, as ``number`` cannot be read."""
        like = self._like(number)
        for _ in like:
            self._note(number, reason)
            number = int(like[torch.searchsorted(like, number, right=True) % len(like)])
            x, wrong = self._read([number])
            if not wrong:
                self._stand_ins[index] = number
                return number, x[0]
            reason = wrong[0]
        raise InputError(f"{self.record_name(index)}: no record like it can be read; {reason}")

    def _like(self, number: int) -> Tensor:
        """Numbers of the records that may stand for this one, in ascending order."""
        candidates = torch.arange(self._count) if self._part is None else self._part
        if self.labels is None:
            return candidates
        return candidates[self.labels[candidates] == self.labels[number]]

    def _note(self, number: int, reason: InputError) -> None:
        name = self.record_name(number)
        wrong = {name: str(reason).removeprefix(f"{name}: ")}
        self._corrupt.add(wrong, "each is replaced by the next one that is like it")
