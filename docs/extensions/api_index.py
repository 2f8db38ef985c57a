"""The directive ``api-index``: every documented class and function with one line, page by page.

It reads what autodoc has documented, so that no list is kept. It stands on the page whose toctree names the
pages.
"""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

KINDS = ("class", "exception", "function", "data")
WIDTHS = (35, 65)


class ApiIndexPlace(nodes.General, nodes.Element):
    """Where the index goes, once all pages have been read."""


class ApiIndex(SphinxDirective):
    """Leave the place; what is documented is known later."""

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        return [ApiIndexPlace()]


def fill(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put a table for each page of the toctree in the index's place."""
    for place in list(doctree.findall(ApiIndexPlace)):
        pages = app.env.toctree_includes.get(docname, [])
        place.replace_self([node for page in pages for node in _page(app, docname, page)])


def _page(app: Sphinx, docname: str, page: str) -> list[nodes.Node]:
    """The page's title and one row for each of its entries."""
    objects = app.env.domains["py"].objects  # type: ignore[attr-defined]
    entries = {
        name: entry
        for name, entry in objects.items()
        if entry.docname == page and entry.objtype in KINDS and not entry.aliased
    }
    if not entries:
        return []
    link = make_refnode(app.builder, docname, page, "", nodes.Text(app.env.titles[page].astext()))
    rows = []
    for name, entry in entries.items():
        shown = nodes.literal(text=name.rsplit(".", 1)[1])
        target = make_refnode(app.builder, docname, page, entry.node_id, shown, name)
        rows.append(_row([target], _markup(summary(name))))
    group = nodes.tgroup("", *(nodes.colspec(colwidth=width) for width in WIDTHS), cols=len(WIDTHS))
    group += nodes.tbody("", *rows)
    return [nodes.rubric("", "", link), nodes.table("", group, classes=["colwidths-given"])]


def summary(name: str) -> str:
    """The first paragraph of an entry's docstring, in one line; of data, what it is."""
    module, _, attribute = name.rpartition(".")
    found = getattr(import_module(module), attribute)
    if not (inspect.isclass(found) or inspect.isroutine(found)):
        return type(found).__name__
    first = (inspect.getdoc(found) or "").split("\n\n")[0]
    return re.sub(r":[\w:]+:`~?(?:[\w.]*\.)?([^`]+)`", r"``\1``", " ".join(first.split()))


def _markup(text: str) -> list[nodes.Node]:
    """Text with what stands between double backquotes set as code."""
    parts = text.split("``")
    return [nodes.literal(text=part) if odd % 2 else nodes.Text(part) for odd, part in enumerate(parts)]


def _row(*cells: list[nodes.Node]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_node(ApiIndexPlace)
    app.add_directive("api-index", ApiIndex)
    app.connect("doctree-resolved", fill)
    return {"parallel_read_safe": True}
