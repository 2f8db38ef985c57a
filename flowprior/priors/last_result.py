"""The last result of an expensive function of tensors, for callers that ask for the same again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

MOST_BYTES = 1 << 28
"""Of a result that is kept."""
T = TypeVar("T", bound=tuple[Tensor, ...])


class LastResult:
    """What was found for the tensors that were given last.

    Tensors count as the same where they lie at the same place and have not been written to since; they are
    held, so that nothing else can come to lie there. A deep copy is empty, and so is one that was pickled.
    """

    def __init__(self) -> None:
        self._of: tuple[object, ...] = ()
        self._held: tuple[Tensor, ...] = ()
        self._result: Any = None

    def get(self, given: Sequence[Tensor], value: Tensor, find: Callable[[], T]) -> T:
        """The last result, where it was found for the same tensors; else that of ``find``.

        Args:
            given: those that count as the same by their place.
            value: small, and the same where its numbers are, wherever it lies.
            find: what to do for others.
        """
        if torch.compiler.is_compiling() or any(map(_has_no_place, (*given, value))):
            return find()
        asked = tuple(map(_place, given))
        if self._result is not None and asked == self._of and torch.equal(value, self._held[-1]):
            return self._result
        self.__init__()  # room for the next
        found = find()
        if sum(tensor.numel() * tensor.element_size() for tensor in found) <= MOST_BYTES:
            self._of, self._held, self._result = asked, (*given, value.clone()), found
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> LastResult:
        return LastResult()

    def __reduce__(self) -> tuple[type[LastResult], tuple[()]]:
        return LastResult, ()


def _has_no_place(tensor: Tensor) -> bool:
    """Whether it counts no writes, or stands for others, as inside of ``torch.func``'s transforms."""
    return tensor.is_inference() or is_functorch_wrapped_tensor(tensor)


def _place(tensor: Tensor) -> tuple[object, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor._version
