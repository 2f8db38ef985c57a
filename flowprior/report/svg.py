"""matplotlib figures as SVG that lives in a page: its font, its colours in light and dark, ids of its own."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
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
