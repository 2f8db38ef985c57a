"""Fenced blocks of Markdown pages: found, shortened for a test, and run in order."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
SMALL = {"steps": "2", "samples": "40"}
"""Budgets that replace those of the pages: the blocks must run, their figures are not looked at."""


def blocks(page: Path, *languages: str) -> list[str]:
    """The contents of the page's fenced blocks in one of ``languages``, in order."""
    found = re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def shortened(code: str) -> str:
    """Code with the budgets of :data:`SMALL`."""
    for name, budget in SMALL.items():
        code = re.sub(rf"\b{name}=\d+", f"{name}={budget}", code)
    return code


def run_python(page: Path) -> list[str]:
    """Run every Python block of a page in one namespace; return the lines that were printed.

    Raises:
        AssertionError: a comment below a print that nothing printed.
    """
    namespace: dict[str, object] = {"__name__": "page"}
    printed = io.StringIO()
    for number, code in enumerate(blocks(page, "python"), 1):
        with contextlib.redirect_stdout(printed):
            exec(compile(shortened(code), f"{page.name}, Python block {number}", "exec"), namespace)
        for expected in promised(code):
            assert expected in printed.getvalue().splitlines(), f"{page.name}: nothing printed {expected!r}"
    return printed.getvalue().splitlines()


def promised(code: str) -> list[str]:
    """The lines that a block says its prints give: every comment right below a print, also of a loop."""
    below = re.findall(r"^ *print\(.*\)\n((?:# .*(?:\n|$))+)", code, re.MULTILINE)
    return [line.removeprefix("# ") for comment in below for line in comment.splitlines()]


def commands(page: Path) -> list[list[str]]:
    """Commands of the page's console blocks, split into words; continued lines are joined."""
    text = "\n".join(blocks(page, "console", "sh")).replace("\\\n", " ")
    lines = (line.removeprefix("$ ").strip() for line in text.splitlines())
    return [shlex.split(line, comments=True) for line in lines if line]
