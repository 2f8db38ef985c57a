"""Records that cannot be used: counted, named, left out, and refused beyond a stated number of them."""

from __future__ import annotations

import warnings
from typing import Any

from flowprior.errors import InputError, OptionError
from flowprior.registry import is_whole

MOST_CORRUPT = 0.001
"""Share of its records that a data set may lack where nobody says otherwise."""
NAMED = 3
"""Records that one message names; it counts all."""


class CorruptRecords:
    """The corrupt records of one data set, which are left out of it.

    Args:
        owner: the data set, for messages.
        total: how many records it has, the corrupt ones included.
        most: how many may be corrupt: a whole number, or a share from 0 to 1 of ``total``.

    Attributes:
        found: what is wrong with each of them, by its name, in the order in which they were found.
        limit: how many may be corrupt.

    Raises:
        OptionError: ``most`` is neither.
    """

    def __init__(self, owner: str, total: int, most: float = MOST_CORRUPT) -> None:
        self.owner, self.total, self.most = owner, total, most
        is_number = is_whole(most) and most >= 0
        if not is_number and not (isinstance(most, float) and 0 <= most <= 1):
            raise OptionError(
                f"{owner}: max_corrupt={most!r} is not possible; give a number of records, such as 5, or a "
                "share of them from 0 to 1, such as 0.001"
            )
        self.limit = int(most) if is_number else int(most * total)
        self.found: dict[str, str] = {}

    @property
    def count(self) -> int:
        """The number of corrupt records."""
        return len(self.found)

    def add(self, wrong: dict[str, str]) -> None:
        """Count corrupt records and warn of them.

        Args:
            wrong: what is wrong, by the record's name.

        Raises:
            InputError: there are more than the limit allows.
        """
        if not wrong:
            return
        self.found.update(wrong)
        named, first = ", ".join(list(wrong)[:NAMED]), next(iter(wrong.values()))
        problem = (
            f"{self.owner}: {self.count:,} of {self.total:,} records cannot be used, such as {named}; the "
            f"first: {first}"
        )
        if self.count > self.limit:
            raise InputError(
                f"{problem}; that is more than max_corrupt={self.most:g} allows ({self.limit:,}); repair or "
                "remove them, or allow more"
            )
        warnings.warn(f"{problem}; they are left out", RuntimeWarning, 2)

    def facts(self) -> dict[str, Any]:
        """Number, limit and first names, as plain JSON values for a model card."""
        return {"count": self.count, "limit": self.limit, "first": list(self.found)[:NAMED]}


def printable(name: str) -> str:
    """A name from a file as one line of at most 120 characters, odd bytes as escapes."""
    if name.isprintable() and len(name) <= 120:
        return name
    escaped = name.encode("utf-8", "backslashreplace").decode()
    line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in escaped)
    return line if len(line) <= 120 else f"{line[:119]}…"
