"""Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flowprior.report.wording import DASH


def markdown_table(header: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table; None is a dash."""
    cells = [[DASH if cell is None else str(cell) for cell in row] for row in rows]
    names = [str(name) for name in header]
    return "\n".join("| " + " | ".join(line) + " |" for line in [names, ["---"] * len(names), *cells])
