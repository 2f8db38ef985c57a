"""Where output goes: tables and JSON on stdout, progress on stderr."""

from __future__ import annotations

import json
from typing import Any

import typer


def print_json(value: Any) -> None:
    """Print ``value`` as JSON; what JSON cannot hold is printed as text."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_rich(*renderables: Any) -> None:
    """Print tables and text with rich; lines of text are not wrapped.

    Nothing that is printed is markup: names of files, labels and specs come from users, and a bracket in one
    is a bracket. What is to be bold says so as ``rich.text.Text``.
    """
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    for renderable in renderables:
        console.print(renderable, soft_wrap=isinstance(renderable, str))
