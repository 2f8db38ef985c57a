"""Names on a picture: of classes, cut or wrapped to the room there is, and the pixels that they take."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import lru_cache

DPI = 100
NAME_POINTS, TITLE_POINTS = 9, 11
MOST_LINES = 3


def class_name(label: int, names: Sequence[str] | None) -> str:
    """The name of a class, or its number where it has none."""
    return names[label] if names is not None and 0 <= label < len(names) else str(label)


def clipped(text: str, letters: int) -> str:
    """The text, with an ellipsis in place of what is beyond ``letters``."""
    return text if len(text) <= letters else text[: letters - 1] + "…"


def wrapped(name: str, letters: int) -> str:
    """A name in at most three lines of so many letters."""
    lines = textwrap.wrap(name, letters)
    return "\n".join([*lines[: MOST_LINES - 1], clipped(" ".join(lines[MOST_LINES - 1 :]), letters)]).strip()


@lru_cache(1024)
def text_size(text: str, points: float = NAME_POINTS) -> tuple[int, int]:
    """Pixels that a text takes across and down."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not text:
        return 0, 0
    figure = Figure(dpi=DPI)
    shown = figure.text(0, 0, text, fontsize=points, linespacing=1, parse_math=False)
    box = shown.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    return int(box.width) + 2, int(box.height) + 2
