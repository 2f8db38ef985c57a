"""What the notebooks of the gallery say, which have no pages to link to and show links as they are written.

A page is named by its title, and an entry of the API by its name.
"""

from __future__ import annotations

import re
from functools import wraps
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx_gallery import notebook

DOCS = Path(__file__).parents[1]
PAGE = re.compile(r":doc:`/([^`]+)`")
ENTRY = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`([^`]+)`")


def without_roles(text: str) -> str:
    """The text of a page with its links to pages and to the API in plain Markdown."""
    return ENTRY.sub(
        lambda entry: f"`{_shown(entry[1])}`", PAGE.sub(lambda page: f"*{_title(page[1])}*", text)
    )


def _title(page: str) -> str:
    """The first heading of a page of docs/."""
    heading = re.search(r"^# (.+)$", (DOCS / f"{page}.md").read_text(encoding="utf-8"), re.MULTILINE)
    return heading[1] if heading else page


def _shown(entry: str) -> str:
    """What a link to an entry shows; of one with a tilde that is its last part."""
    return entry.rpartition(".")[2] if entry.startswith("~") else entry


def setup(app: Sphinx) -> dict[str, bool]:
    """Put :func:`without_roles` before sphinx-gallery's own conversion, which has no place for it."""
    convert = notebook.rst2md

    @wraps(convert)
    def rst2md(text: str, *options: Any) -> str:
        return convert(without_roles(text), *options)

    notebook.rst2md = rst2md
    return {"parallel_read_safe": True}
