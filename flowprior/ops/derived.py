"""Derived: what follows from a buffer, such as a table in another layout, kept until the buffer changes."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from torch import Tensor


class Derived:
    """The result of a function of one buffer, computed again whenever the buffer was replaced or written to.

    Buffers are replaced by ``fit`` and ``.to()``, and written to by ``load_state_dict`` and in-place
    operations; both show in the tensor's identity and version. Copies start empty.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function
        self._known: tuple[weakref.ref[Tensor], int, Tensor] | None = None

    def of(self, buffer: Tensor) -> Tensor:
        """``function(buffer)``."""
        if buffer.requires_grad or buffer.is_inference():
            return self.function(buffer)
        if self._known is not None:
            source, version, value = self._known
            if source() is buffer and version == buffer._version:
                return value
        value = self.function(buffer)
        self._known = (weakref.ref(buffer), buffer._version, value)
        return value

    def __reduce__(self) -> tuple[type[Derived], tuple[Callable[[Tensor], Tensor]]]:
        return Derived, (self.function,)
