"""matplotlib figures as SVG that lives in a page: its fonts, its colours, light and dark."""

from __future__ import annotations

import io
import re
from html import escape
from typing import TYPE_CHECKING

from flowprior.errors import FlowpriorError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, FAINT, RULE, PAPER = "#010101", "#020202", "#030303", "#040404"
_VARIABLES = {INK: "ink", FAINT: "muted", RULE: "rule", PAPER: "card"}
"""Colours that stand for variables of the page's style sheet."""


def series_colour(number: int) -> str:
    """The colour that stands for the style sheet's ``--series-number``."""
    return f"#0a0a{number:02x}"


def new_figure(width: float, height: float) -> Figure:
    """A figure of ``width`` × ``height`` pixels.

    Raises:
        FlowpriorError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise FlowpriorError(
            "compare: the report is drawn with matplotlib; pip install 'flowprior[plot]'"
        ) from error
    return Figure(figsize=(width / 72, height / 72))


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an ``<svg>`` element that scales with its container.

    Args:
        figure: drawn in :func:`series_colour` and the colours of this module.
        name: makes the element's ids unique in the page.
        description: for those who cannot see it.
    """
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    # Replaced by functions: in a text, a backslash of a user's label would be read as a group.
    opening = re.compile(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>')
    text = opening.sub(lambda found: _opening(found[1], description), text, count=1)
    text = re.sub(r'\bid="', lambda found: f"{found[0]}{name}-", text)
    text = re.sub(r'href="#|url\(#', lambda found: f"{found[0]}{name}-", text)
    text = re.sub(r"font: ((?:\d+ )?[\d.]+px) [^;\"]+", r"font: \1 var(--font)", text)
    text = re.sub(r"font-family: [^;\"]+", "font-family: var(--font)", text)
    return _themed(text).strip()


def _opening(view_box: str, description: str) -> str:
    return f'<svg viewBox="{view_box}" role="img" aria-label="{escape(description, quote=True)}">'


def _themed(text: str) -> str:
    """Every colour that stands for a variable replaced by it."""
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    return re.sub(r"#0a0a(\d\d)", lambda match: f"var(--series-{int(match[1], 16)})", text)
