"""What a prompt, a terminal and a notebook show: short lines, plain tables, how far work has come."""

from flowprior.display.progress import PROGRESS, ProgressLine, quiet, shows_progress
from flowprior.display.shown import Shown
from flowprior.display.table import Table, html_of
from flowprior.display.words import counted, shape_of, short, size_of

__all__ = ["PROGRESS", "ProgressLine", "Shown", "Table"]
__all__ += ["counted", "html_of", "quiet", "shape_of", "short", "shows_progress", "size_of"]
