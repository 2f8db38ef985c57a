"""A table of texts, and what a notebook shows of it."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import NamedTuple

MOST_ROWS = 60
"""Rows that a notebook shows; how many more there are is said below."""


class Table(NamedTuple):
    """Names of columns, and rows of texts and numbers; None is an empty cell."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


def html_of(heading: str, *tables: Table) -> str:
    """A heading and tables in HTML, everything escaped.

    No colour is set, so that the page's own hold, be they light or dark, and no script or style sheet is
    needed.
    """
    parts = [f"<p>{html.escape(heading)}</p>", *map(_table, tables)]
    return f"<div>{''.join(parts)}</div>"


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
