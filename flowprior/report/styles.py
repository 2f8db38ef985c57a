"""How each variant looks in every chart: colour by prior, dashes and marker by coupling, fill by path.

Colours are names of the page's style sheet, which gives each a light and a dark value; they are the hues of
Okabe & Ito (2008), told apart under every common colour blindness. The baseline's prior is the neutral one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from flowprior.report.svg import COLOURS

DASHES: tuple[tuple[float, ...], ...] = ((), (4, 2), (1.2, 1.6), (6, 2, 1.5, 2), (9, 3))
MARKERS = "os^DvP"
LONGEST_LABEL = 22


@dataclass(frozen=True)
class Style:
    """Look of one variant.

    Attributes:
        label: of the variant.
        short: what stands at the end of its line: the label, or a letter where the labels are long.
        colour: number of the colour, 0 for the neutral one.
        dash: lengths of dashes and gaps in points; empty for a solid line.
        marker: as matplotlib calls it.
        hollow: whether the marker is drawn as an outline.
    """

    label: str
    short: str
    colour: int
    dash: tuple[float, ...]
    marker: str
    hollow: bool


def styles(variants: Sequence[dict[str, Any]]) -> dict[str, Style]:
    """The style of each variant of report.json, by its label."""
    baseline = next((variant for variant in variants if variant["baseline"]), variants[0])
    axes = []
    for place in range(3):
        names = list(dict.fromkeys(variant["labels"][place] for variant in variants))
        first = baseline["labels"][place]
        axes.append([first, *[name for name in names if name != first]])
    long = max(len(variant["label"]) for variant in variants) > LONGEST_LABEL
    found = {}
    for number, variant in enumerate(variants):
        prior, coupling, path = (axes[place].index(variant["labels"][place]) for place in range(3))
        hue = prior if len(axes[0]) > 1 else coupling
        found[variant["label"]] = Style(
            label=variant["label"],
            short=letter(number) if long else variant["label"],
            colour=hue % COLOURS,
            dash=DASHES[_dash(coupling, len(axes[1]))],
            marker=MARKERS[coupling % len(MARKERS)],
            hollow=path % 2 == 1,
        )
    return found


def letter(number: int) -> str:
    """A, B, …, Z, A2, B2, …"""
    turn, place = divmod(number, len(ascii_uppercase))
    return ascii_uppercase[place] + (str(turn + 1) if turn else "")


def _dash(coupling: int, couplings: int) -> int:
    """The baseline's coupling is dashed where there are others, which are solid, dotted, …"""
    if couplings == 1:
        return 0
    return (1, 0, 2, 3, 4)[coupling % 5]
