"""Shown: what a result says of itself at a prompt and in a notebook."""

from __future__ import annotations

import abc
from collections.abc import Sequence

from flowprior.display.table import Table, html_of


class Shown(abc.ABC):
    """Base class of results: ``repr`` is a heading and a few lines, a notebook shows plain tables.

    A dataclass that derives from it is declared with ``repr=False``.
    """

    @abc.abstractmethod
    def heading(self) -> str:
        """What this is, in one line."""

    def lines(self) -> Sequence[str]:
        """The few lines below the heading."""
        return ()

    def tables(self) -> Sequence[Table]:
        """What a notebook shows below the heading, in place of the lines."""
        return ()

    def __repr__(self) -> str:
        return "\n  ".join([self.heading(), *self.lines()])

    def _repr_html_(self) -> str:
        """For Jupyter and for whatever else asks as IPython does."""
        return html_of(self.heading(), *self.tables())
