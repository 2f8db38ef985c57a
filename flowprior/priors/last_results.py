"""LastResults: results of a function of tensors, kept for callers who ask for the same again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from flowprior.ops.operators import is_differentiated, is_transformed

KEPT = 4
"""How many results: those of the loop and of a thread that works ahead of it."""
MOST_BYTES = 1 << 28
"""Of results that are kept, together."""
T = TypeVar("T", bound=tuple[Tensor, ...])


class _Entry(NamedTuple):
    state: tuple[object, ...]
    values: tuple[Tensor, ...]
    result: tuple[Tensor, ...]


class LastResults:
    """What was found for the values that were given last.

    Values count as the same where all their numbers are, and what else the result depends on, the parameters
    of a network, where nothing has been written to them since. Where a gradient may be asked for, nothing is
    kept. Several threads may ask at once. A deep copy is empty, and so is one that was pickled.
    """

    def __init__(self) -> None:
        self._kept: tuple[_Entry, ...] = ()  # replaced as a whole, never changed

    def get(self, values: Sequence[Tensor], parameters: Sequence[Tensor], find: Callable[[], T]) -> T:
        """A result that was found for the same ``values`` and ``parameters``; else that of ``find``."""
        tensors = (*values, *parameters)
        if torch.compiler.is_dynamo_compiling() or is_differentiated(*tensors) or is_transformed(*tensors):
            return find()
        state = (torch.is_autocast_enabled(values[0].device.type), *map(_place, parameters))
        kept: Any = self._kept
        for entry in kept:
            if entry.state == state and all(map(_equal, entry.values, values)):
                return entry.result
        found = find()
        entry = _Entry(state, tuple(value.detach().clone() for value in values), found)
        self._kept = _bounded((entry, *kept[: KEPT - 1]))
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> LastResults:
        return LastResults()

    def __reduce__(self) -> tuple[type[LastResults], tuple[()]]:
        return LastResults, ()


def _bounded(entries: tuple[_Entry, ...]) -> tuple[_Entry, ...]:
    """As many of the first entries as there is room for."""
    left, kept = MOST_BYTES, []
    for entry in entries:
        left -= sum(tensor.numel() * tensor.element_size() for tensor in (*entry.values, *entry.result))
        if left < 0:
            break
        kept.append(entry)
    return tuple(kept)


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)


def _place(tensor: Tensor) -> tuple[object, ...]:
    """Where a parameter lies, and how often it was written to."""
    version = None if tensor.is_inference() else tensor._version
    return tensor.data_ptr(), tensor.shape, tensor.dtype, tensor.device, version
