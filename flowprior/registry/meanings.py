"""What the options of a component mean, read from the ``Args:`` of its docstring and of its bases'."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

_HEADING = re.compile(r"^\w[\w ]*:$", re.MULTILINE)
_ENTRY = re.compile(r"^    (\w[\w, ]*): ?(.*)$")
_ROLE = re.compile(r":\w+(?::\w+)?:`(?:~[\w.]*?(\w+)|([^`<]*?)(?: <[^`]*>)?)`")


def option_meanings(factory: Callable[..., Any]) -> dict[str, str]:
    """Option -> its meaning, as plain text in one line; what a class does not say itself its bases may."""
    found: dict[str, str] = {}
    bases = inspect.getmro(factory) if isinstance(factory, type) else (factory,)
    for base in bases:
        own = vars(base).get("__doc__") if isinstance(base, type) else base.__doc__
        found = {**arguments_of(own or ""), **found}
    return found


def arguments_of(docstring: str) -> Mapping[str, str]:
    """Argument -> what is said of it under ``Args:``."""
    _, _, rest = f"\n{inspect.cleandoc(docstring)}".partition("\nArgs:\n")
    end = _HEADING.search(rest)
    found: dict[str, list[str]] = {}
    names: list[str] = []
    for line in rest[: end.start() if end else None].splitlines():
        if entry := _ENTRY.match(line):
            names = [name.strip() for name in entry[1].split(",")]
            found |= {name: [entry[2]] for name in names}
        elif line.strip() and not line.startswith(" "):
            break
        else:
            for name in names:
                found[name].append(line.strip())
    return {name: plain(" ".join(lines)) for name, lines in found.items()}


def plain(text: str) -> str:
    """``text`` in one line, without the marks of reStructuredText."""
    return " ".join(_ROLE.sub(r"\1\2", text).replace("``", "").split())
