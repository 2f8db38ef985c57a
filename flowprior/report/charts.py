"""The charts of the report: each metric against NFE, and against training steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowprior.evaluation.result import REAL_DATA
from flowprior.report.quality_figure import draw_quality, means_of, name_ends
from flowprior.report.styles import PAPER, Style, inline_svg, page_style, series_colour
from flowprior.report.wording import evaluations, number

DataFrame = Any
"""Of pandas, whose own types are too loose to check."""
ARROWS = {"lower": "lower is better", "higher": "higher is better", "": ""}
WIDTH, HEIGHT, LINE_HEIGHT = 344, 250, 13.5
"""Of a chart, in points; one of more than eight lines is as much higher for each of them."""


def quality_charts(
    summary: Mapping[str, Any], table: DataFrame, looks: Mapping[str, Style]
) -> list[dict[str, Any]]:
    """One group of charts for each sampler, one chart for each metric: values against NFE."""
    groups = []
    for place, sampler in enumerate(summary["samplers"]):
        frame = table[(table["sampler"] == sampler) & table["step"].isna()]
        doubling = not (frame["grid"] == "adaptive").any()
        charts = [
            line_chart(
                frame,
                metric,
                looks,
                name=f"quality-{place}-{number}",
                about=about,
                text=about["description"],
                level=about["real_data_score"],
                doubling=doubling,
            )
            for number, (metric, about) in enumerate(summary["metrics"].items())
            if about["better"] and (frame["metric"] == metric).any()
        ]
        if charts:
            groups.append({"sampler": sampler, "charts": charts})
    return groups


def convergence_charts(
    summary: Mapping[str, Any], table: DataFrame, looks: Mapping[str, Style]
) -> list[dict[str, Any]]:
    """One chart for each metric and NFE of the curve: values against training steps."""
    return [
        line_chart(
            table[(table["nfe"] == goal["nfe"]) & table["step"].notna()],
            goal["metric"],
            looks,
            name=f"convergence-{place}",
            about=summary["metrics"][goal["metric"]],
            text=f"with {evaluations(goal['nfe'], False)}",
            level=goal["target"],
            level_name="baseline's end",
            x="step",
        )
        for place, goal in enumerate(summary["convergence"])
    ]


def line_chart(
    frame: DataFrame,
    metric: str,
    looks: Mapping[str, Style],
    *,
    name: str,
    about: Mapping[str, Any],
    text: str,
    level: float | None = None,
    level_name: str = REAL_DATA,
    x: str = "nfe",
    doubling: bool = False,
) -> dict[str, Any]:
    """A metric's name, better side and text, with lines of one variant each as an ``<svg>`` element.

    Args:
        frame: rows of the long table.
        metric: its name.
        looks: variant -> how it is drawn.
        name: unique in the page.
        about: what the metric is.
        text: what stands below its name.
        level: drawn as a dotted line.
        level_name: what stands at its end.
        x: column along the bottom.
        doubling: whether it is spaced by powers of two.
    """
    size = (WIDTH / 72, (HEIGHT + LINE_HEIGHT * max(0, frame["flow"].nunique() - 8)) / 72)
    styles = {label: drawn_as(look) for label, look in looks.items()}
    options: dict[str, Any] = {"real_data_score": level, "x": x, "doubling": doubling, "styles": styles}
    with page_style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        draw_quality(axes, frame, metric, group="flow", **options)
        for line in axes.get_lines():
            if line.get_label() == REAL_DATA:
                line.set_label(level_name)
        name_ends(axes)
    axis = {"nfe": "evaluations", "step": "training steps"}[x]
    svg = inline_svg(figure, name, f"{metric} against {axis}: {_ends(frame, metric, x)}")
    return {"metric": metric, "better": ARROWS[about["better"]], "about": text, "svg": svg}


def drawn_as(look: Style) -> dict[str, Any]:
    """What matplotlib takes to draw a line in a style."""
    colour = series_colour(look.colour)
    return {
        "label": look.short,
        "color": colour,
        "linestyle": (0, look.dash) if look.dash else "-",
        "marker": look.marker,
        "markerfacecolor": PAPER if look.hollow else colour,
        "capsize": 0,
        "elinewidth": 1.1,
    }


def _ends(frame: DataFrame, metric: str, x: str) -> str:
    """Where each line begins and ends, in words."""
    found = []
    for label, line in means_of(frame, metric, ["flow"], x).groupby("flow", sort=False):
        first, last = line.iloc[0], line.iloc[-1]
        found.append(
            f"{label} from {number(first['mean'])} at {number(first['place'])} to {number(last['mean'])} "
            f"at {number(last['place'])}"
        )
    return "; ".join(found)
