"""The display of results and values at a prompt, in a terminal and in a notebook: short lines and tables."""

from flowprior.display.shown import (
    Shown,
    Table,
    counted,
    html_of,
    markdown_table,
    shape_of,
    short,
    size_of,
)

__all__ = ["Shown", "Table", "counted", "html_of", "markdown_table", "shape_of", "short", "size_of"]
