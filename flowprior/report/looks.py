"""How the variants of a comparison look: in its charts, and beside their names elsewhere in the page.

Colour says a variant's prior, neutral for the baseline's; dashes its coupling, fill its path. The marker is
its own. The style sheet gives each colour a light and a dark value: hues of Okabe & Ito (2008), which the
colour-blind tell apart, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from flowprior.pictures.looks import MARKERS, short_names
from flowprior.pictures.sheet import clipped

LONGEST_NAME = 56
"""Letters of a variant's name that a chart has room for."""
PAPER = "#040404"
"""Stands for the colour of a card, as those of ``SERIES`` stand for others of the style sheet."""
COLOURS = 6
SERIES = [f"#0a0a{number:02x}" for number in range(COLOURS)]
DASHES: tuple[tuple[float, ...], ...] = ((4, 2), (), (1.2, 1.6), (6, 2, 1.5, 2), (9, 3))
"""By coupling: the baseline's is dashed where there are others, which are solid, dotted, …"""


class Style(NamedTuple):
    """Look of one variant.

    Attributes:
        short: its label, with no more options than tell it from the others.
        colour: number of the colour, 0 for the neutral one.
        dash: lengths of dashes and gaps in points; empty for a solid line.
        marker: as matplotlib calls it.
        hollow: whether the marker is drawn as an outline.
    """

    short: str
    colour: int
    dash: tuple[float, ...]
    marker: str
    hollow: bool

    def drawn(self) -> dict[str, Any]:
        """What matplotlib takes to draw a line."""
        colour = SERIES[self.colour]
        look = {"linestyle": (0, self.dash) if self.dash else "-", "capsize": 0, "elinewidth": 1.1}
        fill = PAPER if self.hollow else colour
        return {"label": self.short, "color": colour, "marker": self.marker, "markerfacecolor": fill, **look}

    @property
    def outline(self) -> str:
        """The marker as the ``d`` of an SVG path, one unit wide around 0."""
        return marker_outline(self.marker)


def styles(variants: Sequence[dict[str, Any]]) -> dict[str, Style]:
    """The style of each variant of report.json, by its label."""
    ordered = sorted(variants, key=lambda variant: not variant["baseline"])
    axes = [list(dict.fromkeys(names)) for names in zip(*(v["labels"] for v in ordered), strict=True)]
    short, found = short_names([variant["label"] for variant in variants]), {}
    for turn, variant in enumerate(variants):
        prior, coupling, path = (axis.index(name) for axis, name in zip(axes, variant["labels"], strict=True))
        found[variant["label"]] = Style(
            short=clipped(short[variant["label"]], LONGEST_NAME),
            colour=(prior if len(axes[0]) > 1 else coupling) % COLOURS,
            dash=DASHES[coupling % len(DASHES)] if len(axes[1]) > 1 else (),
            marker=MARKERS[turn % len(MARKERS)],
            hollow=path % 2 == 1,
        )
    return found


@lru_cache
def marker_outline(marker: str) -> str:
    """The path that matplotlib draws for a marker, as the ``d`` of an SVG path with y upwards."""
    from matplotlib.markers import MarkerStyle

    style = MarkerStyle(marker)
    path = style.get_path().transformed(style.get_transform())
    letters = {path.MOVETO: "M", path.LINETO: "L", path.CURVE3: "Q", path.CURVE4: "C", path.CLOSEPOLY: "Z"}
    steps = []
    for ends, code in path.iter_segments():
        numbers = [] if code == path.CLOSEPOLY else [f"{value:.3f}" for value in ends]
        steps.append(letters[code] + " ".join(numbers))
    return "".join(steps)
