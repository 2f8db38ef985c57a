"""Where output goes: figures and JSON on stdout, progress on stderr."""

from __future__ import annotations

import json
from typing import Any

import typer


def print_json(value: Any) -> None:
    """Print ``value`` as JSON; what JSON cannot hold is printed as text."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_rich(*renderables: Any) -> None:
    """Print tables and text with rich; lines of text are not wrapped."""
    from rich.console import Console

    console = Console(highlight=False)
    for renderable in renderables:
        console.print(renderable, soft_wrap=isinstance(renderable, str))
