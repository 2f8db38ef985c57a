"""Values in a few words, for lines that people read."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from typing import Any

MOST_CHARACTERS = 60
"""Of one value; a longer one is cut in its middle."""


class _Short(reprlib.Repr):
    """Values as Python writes them, long ones cut; of tensors the shape alone, of networks the class."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = MOST_CHARACTERS

    def repr1(self, x: Any, level: int) -> str:
        if hasattr(x, "shape") and hasattr(x, "dtype"):
            return f"{type(x).__name__} {shape_of(x.shape)}"
        if hasattr(x, "parameters") and hasattr(x, "state_dict"):
            return f"<{type(x).__name__}>"
        return super().repr1(x, level)


_SHORT = _Short()


def short(value: object) -> str:
    """A value as Python writes it, in one short line."""
    return " ".join(_SHORT.repr(value).split())


def shape_of(shape: Iterable[int]) -> str:
    """``[1, 8, 8]``."""
    return f"[{', '.join(map(str, shape))}]"


def counted(count: int, noun: str) -> str:
    """``1 label``, ``1,437 labels``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def size_of(module: Any) -> str:
    """``1,234 parameters`` of a network; empty for a function."""
    if not hasattr(module, "parameters"):
        return ""
    return counted(sum(parameter.numel() for parameter in module.parameters()), "parameter")
