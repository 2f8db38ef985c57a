"""The headings, tables and short lines that a prompt and a notebook show of results and values."""

from __future__ import annotations

import abc
import html
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

MOST_ROWS = 60
"""The number of a table's rows that a notebook shows; a line below counts the others."""
MOST_CHARACTERS = 60
"""The largest number of characters of one value; a longer one is cut in its middle."""


class Shown(abc.ABC):
    """The base class of results: ``repr`` is a heading and a few lines, a notebook shows plain tables.

    A dataclass that derives from it is declared with ``repr=False``.
    """

    @abc.abstractmethod
    def heading(self) -> str:
        """Return the name of the result, in one line."""

    def lines(self) -> Sequence[str]:
        """Return the few lines below the heading."""
        return ()

    def tables(self) -> Sequence[Table]:
        """Return the tables that a notebook shows below the heading, in place of the lines."""
        return ()

    def __repr__(self) -> str:
        return "\n  ".join([self.heading(), *self.lines()])

    def _repr_html_(self) -> str:
        """Return heading and tables in HTML, as Jupyter and IPython ask for them."""
        return html_of(self.heading(), *self.tables())


class Table(NamedTuple):
    """The names of columns, and rows of texts and numbers; None is an empty table cell."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


def html_of(heading: str, *tables: Table) -> str:
    """Return a heading and tables in HTML with every text escaped.

    It sets no colours, so that those of a light or dark page hold, and needs no script or style sheet.
    """
    parts = [f"<p>{html.escape(heading)}</p>", *map(_table, tables)]
    return f"<div>{''.join(parts)}</div>"


def markdown_table(columns: Sequence[object], rows: Iterable[Iterable[object]]) -> str:
    """Return a table in Markdown, of cells that are Markdown already; None is a dash."""
    lines = [columns, ["---"] * len(columns), *rows]
    cells = [["–" if cell is None else str(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def short(value: object) -> str:
    """Return a value as Python writes it, in one short line."""
    return " ".join(_SHORT.repr(value).split())


def shape_of(shape: Iterable[int]) -> str:
    """Return a shape as text, such as ``[1, 8, 8]``."""
    return f"[{', '.join(map(str, shape))}]"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, such as ``1 label`` or ``1,437 labels``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def size_of(module: Any) -> str:
    """Return the size of a network, such as ``1,234 parameters``; empty for a function."""
    if not hasattr(module, "parameters"):
        return ""
    return counted(sum(parameter.numel() for parameter in module.parameters()), "parameter")


def _table(table: Table) -> str:
    head = _row(table.columns, "th")
    body = "".join(_row(row, "td") for row in table.rows[:MOST_ROWS])
    more = len(table.rows) - MOST_ROWS
    below = f"<p>{more:,} more rows</p>" if more > 0 else ""
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>{below}"


def _row(cells: Iterable[object], tag: str) -> str:
    return f"<tr>{''.join(_cell(cell, tag) for cell in cells)}</tr>"


def _cell(value: object, tag: str) -> str:
    side = "left" if isinstance(value, str) else "right"
    return f'<{tag} style="text-align: {side}">{html.escape(_text(value))}</{tag}>'


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class _Short(reprlib.Repr):
    """The short ``repr`` of values: long texts are cut, tensors show their shape, networks their class."""

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
