"""The directive ``component-table``: a family's components with their options, read from its registry.

```{component-table} flowprior.priors:Prior
```
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from flowprior.registry import Registry

FROM_THE_DATA = ("event_shape", "condition", "split")
WIDTHS = (15, 45, 40)


class ComponentTable(SphinxDirective):
    """One row a component: name and aliases, description, options with defaults."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module, name = self.arguments[0].split(":")
        owner = getattr(import_module(module), name)
        registry: Registry[Any] = owner if isinstance(owner, Registry) else owner.registry
        group = nodes.tgroup(cols=len(WIDTHS))
        group += [nodes.colspec(colwidth=width) for width in WIDTHS]
        group += nodes.thead("", _row(*([nodes.Text(title)] for title in ("name", "what it is", "options"))))
        group += nodes.tbody("", *(_record_row(registry.record(name)) for name in registry.available()))
        return [nodes.table("", group, classes=["colwidths-given"])]


def _record_row(record: Any) -> nodes.row:
    names: list[nodes.Node] = [nodes.literal(text=record.name)]
    for alias in record.aliases:
        names += [nodes.Text(", "), nodes.literal(text=alias)]
    options: list[nodes.Node] = []
    for option, default in record.options.items():
        if option not in FROM_THE_DATA:
            shown = option if default is inspect.Parameter.empty else f"{option}={default}"
            options += [nodes.Text(" ")] * bool(options) + [nodes.literal(text=shown)]
    return _row(names, [nodes.Text(record.description.replace("``", ""))], options)


def _row(*cells: Sequence[nodes.Node]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("component-table", ComponentTable)
    return {"parallel_read_safe": True}
