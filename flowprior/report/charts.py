"""The charts of the report: each metric against NFE, and against training steps."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from flowprior.evaluation.result import ADAPTIVE
from flowprior.pictures.curves import name_below, name_ends
from flowprior.report.looks import PAPER, SERIES, Style
from flowprior.report.quality_figure import PLAIN_TEXT, draw_quality, means_of
from flowprior.report.wording import BETTER, counted, number
from flowprior.study.table import DataFrame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, FAINT, RULE = "#010101", "#808080", "#b0b0b0"
VARIABLES = {INK: "ink", FAINT: "muted", RULE: "rule", PAPER: "card"} | {
    colour: f"series-{number}" for number, colour in enumerate(SERIES)
}
"""Colours that stand for variables of the page's style sheet."""
PAGE_STYLE: Any = {
    **PLAIN_TEXT,
    "font.size": 10,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": FAINT,
    "axes.spines.left": False,
    "grid.color": RULE,
    "ytick.major.size": 0,
    **dict.fromkeys(("text.color", "xtick.color", "ytick.color"), INK),
}
"""Figures have the page's colours and no frame."""
LONGEST_END = 22
"""Letters of a name at the end of its line; longer ones stand below the chart."""
WIDTH, HEIGHT, LINE_HEIGHT = 344, 250, 13.5
"""Of a chart, in points; one is as much higher for each line beyond eight, or for each name below it."""
Charts = list[dict[str, Any]]


def quality_charts(summary: Mapping[str, Any], table: DataFrame, looks: Mapping[str, Style]) -> Charts:
    """One group of charts for each sampler, one chart for each metric: values against NFE."""
    groups = []
    for place, sampler in enumerate(summary["samplers"]):
        frame = table[(table["sampler"] == sampler) & table["step"].isna()]
        doubling, charts = not (frame["grid"] == ADAPTIVE).any(), []
        for turn, (metric, about) in enumerate(summary["metrics"].items()):
            if about["better"] and (frame["metric"] == metric).any():
                texts = {"name": f"quality-{place}-{turn}", "about": about["description"]}
                options = {"better": about["better"], "level": about["real_data_score"], "doubling": doubling}
                charts.append(line_chart(frame, metric, looks, **texts, **options))
        groups += [{"sampler": sampler, "charts": charts}] if charts else []
    return groups


def convergence_charts(summary: Mapping[str, Any], table: DataFrame, looks: Mapping[str, Style]) -> Charts:
    """One chart for each metric and NFE of the curve: values against training steps."""
    steps, charts = table[table["step"].notna()], []
    for place, goal in enumerate(summary["convergence"]):
        frame, better = steps[steps["nfe"] == goal["nfe"]], summary["metrics"][goal["metric"]]["better"]
        about = f"with {counted(goal['nfe'], 'evaluation')}"
        texts = {"name": f"convergence-{place}", "better": better, "about": about}
        options = {"level": goal["target"], "level_name": "baseline's end", "x": "step", "doubling": False}
        charts.append(line_chart(frame, goal["metric"], looks, **texts, **options))
    return charts


def line_chart(
    frame: DataFrame,
    metric: str,
    looks: Mapping[str, Style],
    *,
    name: str,
    better: str,
    about: str,
    **options: Any,
) -> dict[str, Any]:
    """A metric's name, better side and text, with lines of one variant each as an ``<svg>`` element.

    Args:
        frame: rows of the long table.
        metric: its name.
        looks: variant -> how it is drawn.
        name: unique in the page.
        better: ``"lower"``, ``"higher"`` or ``""``.
        about: what stands below its name.
        options: further ones of :func:`flowprior.report.quality_figure.draw_quality`.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    drawn, x = {label: look.drawn() for label, look in looks.items()}, options.get("x", "nfe")
    lines, below = frame["flow"].nunique(), max(len(look.short) for look in looks.values()) > LONGEST_END
    height = HEIGHT + LINE_HEIGHT * (lines + 1 if below else max(0, lines - 8))
    with rc_context(PAGE_STYLE):
        figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
        axes = figure.subplots()
        draw_quality(axes, frame, metric, group=["flow"], styles=drawn, better=better, **options)
        (name_below if below else name_ends)(axes)
    axis = {"nfe": "evaluations", "step": "training steps"}[x]
    svg = inline_svg(figure, name, f"{metric} against {axis}: {_ends(frame, metric, x)}")
    return {"metric": metric, "better": BETTER[better], "about": about, "svg": svg}


def _ends(frame: DataFrame, metric: str, x: str) -> str:
    """Where each line begins and ends, in words."""
    found = []
    for label, line in means_of(frame, metric, ["flow"], x).groupby("flow", sort=False):
        ends = [f"{number(end['mean'])} at {number(end['place'])}" for end in (line.iloc[0], line.iloc[-1])]
        found.append(f"{label} from {' to '.join(ends)}")
    return "; ".join(found)


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an ``<svg>`` element that scales with its container.

    Args:
        figure: drawn in the colours of :data:`VARIABLES`.
        name: makes the element's ids unique in the page.
        description: for those who cannot see it.
    """
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    _, start, drawing = buffer.getvalue().partition("<svg")
    drawing = re.sub(r"<(metadata|style)\b.*?</\1>|<!--.*?-->", "", start + drawing, flags=re.DOTALL)
    drawing = re.sub(r"<[^>]+>", lambda tag: _in_page(tag[0], name), drawing)
    box = re.search(r'viewBox="[^"]+"', drawing)
    opening = f'<svg {box and box[0]} role="img" aria-label="{escape(description)}">'
    return re.sub(r"<svg[^>]*>", lambda _: opening, drawing, count=1).strip()


def _in_page(tag: str, name: str) -> str:
    """A tag of the drawing with the page's ids, font and colours."""
    tag = re.sub(r'\bid="|href="#|url\(#', lambda found: f"{found[0]}{name}-", tag).replace("xlink:", "")
    tag = tag.replace("&apos;", "'")
    tag = re.sub(r"font-family:[^;\"]*", "font-family: var(--font)", tag)
    tag = re.sub(r"(font:[^;\"]*?px)[^;\"]*", r"\1 var(--font)", tag)
    for colour, variable in VARIABLES.items():
        tag = tag.replace(colour, f"var(--{variable})")
    return tag
