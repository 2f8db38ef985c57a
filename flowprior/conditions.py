"""What a condition is: class labels, embeddings, or nothing; and its null value for guidance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from flowprior.errors import InputError

Kind = Literal["none", "labels", "embeddings"]
MOST_LABELS = 100_000
"""Most classes that a condition may have: priors and networks hold a row of numbers for each of them."""


@dataclass(frozen=True)
class Condition:
    """Kind and size of a data set's condition.

    Attributes:
        kind: ``"none"``, ``"labels"`` (int64 ``[B]``) or ``"embeddings"`` (floating point ``[B, E]``).
        size: number of classes, at most 100,000 (:data:`MOST_LABELS`), or E, or 0.

    Raises:
        InputError: another kind, or a size that is no such number.
    """

    kind: Kind = "none"
    size: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind) or type(self.size) is not int or self.size < 0:
            raise InputError(
                f"condition: expected {', '.join(get_args(Kind))} and a size from 0 on, got {self.kind!r} "
                f"and {self.size!r}"
            )
        if self.kind == "labels" and self.size > MOST_LABELS:
            raise InputError(
                f"condition: {self.size:,} labels are too many, at most {MOST_LABELS:,} are possible; number "
                "the labels 0, 1, 2, …"
            )

    def null(self, cond: Tensor | None) -> Tensor | None:
        """The null condition shaped like ``cond``: label ``size``, or an embedding of zeros.

        Classifier-free guidance (Ho & Salimans 2022) trains on it by dropout and samples with it.
        """
        if cond is None or self.kind == "none":
            return None
        return torch.full_like(cond, self.size) if self.kind == "labels" else torch.zeros_like(cond)

    def check(self, cond: Tensor | None, owner: str) -> Tensor | None:
        """Check ``cond`` against kind, width and label range and return it.

        Raises:
            InputError: it does not fit.
        """
        if self.kind == "none":
            return None
        if cond is None:
            raise InputError(f"{owner}: expected {self.describe()}, got None")
        if not isinstance(cond, Tensor):
            raise InputError(
                f"{owner}: expected {self.describe()}, got {type(cond).__name__}; use torch.tensor"
            )
        if self.kind == "labels":
            if cond.dtype != torch.long or cond.dim() != 1:
                raise InputError(f"{owner}: expected {self.describe()}, got {cond.dtype} {list(cond.shape)}")
            if len(cond) and not 0 <= int(cond.min()) <= int(cond.max()) < self.size:
                bad = int(cond[(cond < 0) | (cond >= self.size)][0])
                raise InputError(f"{owner}: cond has label {bad}, expected labels 0..{self.size - 1}")
        elif not cond.is_floating_point() or cond.dim() != 2 or cond.shape[1] != self.size:
            raise InputError(f"{owner}: expected {self.describe()}, got {cond.dtype} {list(cond.shape)}")
        return cond

    def describe(self) -> str:
        """The expected tensor, for messages."""
        if self.kind == "labels":
            return f"int64 labels [B] in 0..{self.size - 1}"
        return f"floating-point embeddings [B, {self.size}]" if self.kind == "embeddings" else "no condition"

    @classmethod
    def of(cls, cond: Tensor | None) -> Condition:
        """Read kind and size off a whole data set's condition."""
        if cond is None:
            return cls()
        if cond.is_floating_point():
            return cls("embeddings", int(cond.shape[1]))
        return cls("labels", int(cond.max()) + 1 if len(cond) else 0)
