"""How charts look in the page: its colours in light and dark, its font, a style for each variant.

A variant's colour says its prior, dashes and marker its coupling, fill its path. Colours are names of the
page's style sheet, which gives each a light and a dark value; they are the hues of Okabe & Ito (2008), told
apart under every common colour blindness. The baseline's prior is the neutral one.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from flowprior.errors import FlowpriorError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, FAINT, RULE, PAPER = "#010101", "#808080", "#b0b0b0", "#040404"
VARIABLES = {INK: "ink", FAINT: "muted", RULE: "rule", PAPER: "card"}
"""Colours that stand for variables of the page's style sheet."""
COLOURS = 6
SVG = "{http://www.w3.org/2000/svg}"
DROPPED = (f"{SVG}metadata", f"{SVG}style")
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


def series_colour(number: int) -> str:
    """The colour that stands for the style sheet's ``--series-number``."""
    return f"#0a0a{number:02x}"


@contextmanager
def page_style() -> Iterator[None]:
    """Figures that are made here have the page's colours and no frame.

    Raises:
        FlowpriorError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise FlowpriorError(
            "compare: the report is drawn with matplotlib; pip install 'flowprior[plot]'"
        ) from error
    inks = ("text.color", "xtick.color", "ytick.color")
    look: Any = {"font.size": 10, "axes.labelcolor": FAINT, "axes.edgecolor": FAINT, "grid.color": RULE}
    look |= {"axes.spines.left": False, "ytick.major.size": 0, **dict.fromkeys(inks, INK)}
    with rc_context(look):
        yield


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an ``<svg>`` element that scales with its container.

    Args:
        figure: drawn in :func:`series_colour` and the colours of this module.
        name: makes the element's ids unique in the page.
        description: for those who cannot see it.
    """
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for element in root.iter():
        for child in [child for child in element if child.tag in DROPPED]:
            element.remove(child)
        element.tag = element.tag.removeprefix(SVG)
        element.attrib = {
            key.rpartition("}")[2]: _in_page(key, value, name) for key, value in element.items()
        }
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": description}
    return ElementTree.tostring(root, encoding="unicode").strip()


def _in_page(key: str, value: str, name: str) -> str:
    """The value of an attribute with the page's ids, font and colours."""
    if key == "id":
        return f"{name}-{value}"
    if key.endswith("href"):
        return value.replace("#", f"#{name}-", 1)
    value = value.replace("url(#", f"url(#{name}-")
    if key == "style":
        value = "; ".join(_with_font(part.strip()) for part in value.split(";"))
    colours = VARIABLES | {series_colour(number): f"series-{number}" for number in range(COLOURS)}
    for colour, variable in colours.items():
        value = value.replace(colour, f"var(--{variable})")
    return value


def _with_font(declaration: str) -> str:
    """A CSS declaration with the page's font in place of matplotlib's, which writes it in either way."""
    if declaration.startswith("font-family:"):
        return "font-family: var(--font)"
    short = declaration.startswith("font:")
    return declaration[: declaration.index("px") + 2] + " var(--font)" if short else declaration
