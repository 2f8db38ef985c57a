"""What a prompt, a terminal and a notebook show of things: short lines and plain tables."""

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
