"""Labels that are stored as texts: whole numbers, or names of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowprior.conditions import MOST_LABELS
from flowprior.errors import InputError

UNKNOWN = -1
"""Stands for a text that is no label."""


@dataclass(frozen=True)
class Classes:
    """Which labels there are.

    Attributes:
        count: of labels.
        names: one for each label; None where the texts are the numbers of the labels.
    """

    count: int
    names: list[str] | None = None

    @classmethod
    def of(cls, texts: Sequence[str], owner: str) -> Classes:
        """The classes of N texts: numbers where most of them are whole numbers, else names by the alphabet.

        Raises:
            InputError: no text is a label, or there are more than 100,000 different names.
        """
        numbers = [number for number in map(_number, texts) if number is not None]
        if 2 * len(numbers) >= len(texts) and numbers:
            return cls(max(numbers) + 1)
        names = sorted(set(texts) - {""})
        if not 0 < len(names) <= MOST_LABELS:
            raise InputError(
                f"{owner}: expected labels, 1 to {MOST_LABELS:,} different ones, got {len(names):,} in "
                f"{len(texts):,} records; take captions as text= in place of label="
            )
        return cls(len(names), names)

    def labels(self, texts: Sequence[str]) -> Tensor:
        """Labels int64 ``[N]`` of texts, -1 for what is none of these classes."""
        if self.names is None:
            numbers = (_number(text) for text in texts)
            found = [UNKNOWN if number is None or number >= self.count else number for number in numbers]
        else:
            places = {name: place for place, name in enumerate(self.names)}
            found = [places.get(text, UNKNOWN) for text in texts]
        return torch.tensor(found, dtype=torch.long)


def _number(text: str) -> int | None:
    """The label that a text is the number of; None for any other text."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        return None
    return int(text) if int(text) < MOST_LABELS else None
