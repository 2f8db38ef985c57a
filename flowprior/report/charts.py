"""The charts of the report: each metric against NFE, and against training steps."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from typing import Any

from flowprior.pictures import figure_bytes
from flowprior.pictures.quality import draw_curves, evaluations_label, legible_names, look, name_below
from flowprior.report.comparison_figure import curves_of
from flowprior.report.quality_figure import PLAIN_TEXT
from flowprior.report.wording import BETTER, counted, number
from flowprior.study.summary import Rows

WIDTH, HEIGHT, LINE_HEIGHT = 344, 250, 13.5
"""Of a chart, in points; one is as much higher for each name below it."""
Names = Mapping[str, str]
"""Label of a variant -> what a chart calls it; the first ones have the first looks."""


def chart_names(summary: Mapping[str, Any]) -> Names:
    """The names of the variants that are run."""
    return legible_names([variant["label"] for variant in summary["variants"] if not variant["skipped"]])


def quality_charts(summary: Mapping[str, Any]) -> Rows:
    """One group of charts for each sampler, one chart for each metric: values against NFE."""
    names, groups = chart_names(summary), []
    for sampler in summary["samplers"]:
        rows = [row for row in summary["quality"] if row["sampler"] == sampler]
        doubling, charts = not any(row["adaptive"] for row in rows), []
        for metric, about in summary["metrics"].items():
            own = [row for row in rows if row["metric"] == metric]
            if about["better"] and own:
                texts = {"better": about["better"], "about": about["description"]}
                options = {"level": about["real_data_score"], "doubling": doubling}
                charts.append(line_chart(own, names, **texts, **options))
        groups += [{"sampler": sampler, "charts": charts}] if charts else []
    return groups


def convergence_charts(summary: Mapping[str, Any]) -> Rows:
    """One chart for each metric and NFE of the curve: values against training steps."""
    names, charts = chart_names(summary), []
    for goal in summary["convergence"]:
        places = (goal["metric"], goal["nfe"])
        rows = [row for row in summary["curve"] if (row["metric"], row["nfe"]) == places]
        better = summary["metrics"][goal["metric"]]["better"]
        texts = {"better": better, "about": f"with {counted(goal['nfe'], 'evaluation')}"}
        options = {"level": goal["target"], "level_name": "baseline's end", "doubling": False}
        charts.append(line_chart(rows, names, x="step", **texts, **options))
    return charts


def line_chart(
    rows: Rows, names: Names, *, better: str, about: str, x: str = "nfe", **options: Any
) -> dict[str, Any]:
    """A metric's name, better side and text, with lines of one variant each as an ``<img>`` element.

    Args:
        rows: of one metric, as report.json has them.
        names: of the variants.
        better: ``"lower"``, ``"higher"`` or ``""``.
        about: what stands below the metric's name.
        x: what stands along the bottom, ``"nfe"`` or ``"step"``.
        options: further ones of :func:`flowprior.pictures.quality.draw_curves`.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    metric, curves = rows[0]["metric"], curves_of(rows, names, x)
    styles = {name: look(place) for place, name in enumerate(names.values())}
    height = HEIGHT + LINE_HEIGHT * (len(curves) + 1)
    with rc_context(PLAIN_TEXT):
        figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
        axes = figure.subplots()
        draw_curves(axes, curves, better=better, styles=styles, **options)
        with_prior = any(0 in curve.places for curve in curves.values())
        axes.set_xlabel(evaluations_label(with_prior) if x == "nfe" else "training steps")
        name_below(axes)
    ends = [
        f"{name} from {number(curve.means[0])} at {number(curve.places[0])} to {number(curve.means[-1])} at "
        f"{number(curve.places[-1])}"
        for name, curve in curves.items()
    ]
    axis = {"nfe": "evaluations", "step": "training steps"}[x]
    source = f"data:image/svg+xml;base64,{base64.b64encode(figure_bytes(figure, 'svg')).decode()}"
    description = escape(f"{metric} against {axis}: {'; '.join(ends)}")
    image = f'<img src="{source}" alt="{description}">'
    return {"metric": metric, "better": BETTER[better], "about": about, "image": image}
