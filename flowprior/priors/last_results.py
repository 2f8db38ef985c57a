"""LastResults: results of a function of a tensor, kept for callers who ask for the same again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from flowprior.ops.operators import is_differentiated, is_transformed

KEPT, MOST_NUMBERS = 4, 1 << 24
"""The number of results that are kept, those of the loop and of a thread that works ahead of it, and the
largest number of numbers in one of them."""
T = TypeVar("T", bound=tuple[Tensor, ...])


class LastResults:
    """The results for the values that were given last.

    Values count as the same where all their numbers are, and what else the result depends on, the parameters
    of a network, where nothing has been written to them since. Where a gradient may be asked for, nothing is
    kept. Several threads may ask at once. A deep copy is empty, and so is one that was pickled.
    """

    def __init__(self) -> None:
        self._kept: tuple[Any, ...] = ()  # replaced as a whole, never changed

    def get(self, value: Tensor, parameters: Sequence[Tensor], find: Callable[[], T]) -> T:
        """Return a result that was found for the same ``value`` and ``parameters``; else that of ``find``."""
        tensors = (value, *parameters)
        if torch.compiler.is_dynamo_compiling() or is_differentiated(*tensors) or is_transformed(*tensors):
            return find()
        like = value.dtype, value.device, torch.is_autocast_enabled(value.device.type)
        state, kept = (*like, *map(_place, parameters)), self._kept
        for known, asked, result in kept:
            if known == state and torch.equal(asked, value):
                return result
        found = find()
        if sum(tensor.numel() for tensor in found) <= MOST_NUMBERS:
            self._kept = ((state, value.detach().clone(), found), *kept[: KEPT - 1])
        return found

    def __reduce__(self) -> tuple[type[LastResults], tuple[()]]:
        return LastResults, ()


def _place(tensor: Tensor) -> tuple[object, ...]:
    """Return the place of a parameter in memory, and the number of times that it was written to."""
    version = None if tensor.is_inference() else tensor._version
    return tensor.data_ptr(), tensor.shape, tensor.dtype, tensor.device, version
