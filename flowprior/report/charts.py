"""The charts of the report: each metric against NFE, and against training steps."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from typing import Any

from flowprior.evaluation.result import ADAPTIVE
from flowprior.pictures import figure_bytes
from flowprior.pictures.curves import name_below
from flowprior.report.quality_figure import PLAIN_TEXT, draw_quality, means_of
from flowprior.report.wording import BETTER, counted, number
from flowprior.study.table import DataFrame

WIDTH, HEIGHT, LINE_HEIGHT = 344, 250, 13.5
"""Of a chart, in points; one is as much higher for each name below it."""
Charts = list[dict[str, Any]]


def quality_charts(summary: Mapping[str, Any], table: DataFrame) -> Charts:
    """One group of charts for each sampler, one chart for each metric: values against NFE."""
    groups = []
    for sampler in summary["samplers"]:
        frame = table[(table["sampler"] == sampler) & table["step"].isna()]
        doubling, charts = not (frame["grid"] == ADAPTIVE).any(), []
        for metric, about in summary["metrics"].items():
            if about["better"] and (frame["metric"] == metric).any():
                texts = {"better": about["better"], "about": about["description"]}
                options = {"level": about["real_data_score"], "doubling": doubling}
                charts.append(line_chart(frame, metric, **texts, **options))
        groups += [{"sampler": sampler, "charts": charts}] if charts else []
    return groups


def convergence_charts(summary: Mapping[str, Any], table: DataFrame) -> Charts:
    """One chart for each metric and NFE of the curve: values against training steps."""
    steps, charts = table[table["step"].notna()], []
    for goal in summary["convergence"]:
        frame, better = steps[steps["nfe"] == goal["nfe"]], summary["metrics"][goal["metric"]]["better"]
        about = f"with {counted(goal['nfe'], 'evaluation')}"
        options = {"level": goal["target"], "level_name": "baseline's end", "x": "step", "doubling": False}
        charts.append(line_chart(frame, goal["metric"], better=better, about=about, **options))
    return charts


def line_chart(frame: DataFrame, metric: str, *, better: str, about: str, **options: Any) -> dict[str, Any]:
    """A metric's name, better side and text, with lines of one variant each as an ``<img>`` element.

    Args:
        frame: rows of the long table.
        metric: its name.
        better: ``"lower"``, ``"higher"`` or ``""``.
        about: what stands below its name.
        options: further ones of :func:`flowprior.report.quality_figure.draw_quality`.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    x = options.get("x", "nfe")
    height = HEIGHT + LINE_HEIGHT * (frame["flow"].nunique() + 1)
    with rc_context(PLAIN_TEXT):
        figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
        axes = figure.subplots()
        draw_quality(axes, frame, metric, group=["flow"], better=better, **options)
        name_below(axes)
    axis = {"nfe": "evaluations", "step": "training steps"}[x]
    description = escape(f"{metric} against {axis}: {_ends(frame, metric, x)}")
    source = f"data:image/svg+xml;base64,{base64.b64encode(figure_bytes(figure, 'svg')).decode()}"
    image = f'<img src="{source}" alt="{description}">'
    return {"metric": metric, "better": BETTER[better], "about": about, "image": image}


def _ends(frame: DataFrame, metric: str, x: str) -> str:
    """Where each line begins and ends, in words."""
    found = []
    for label, line in means_of(frame, metric, ["flow"], x).groupby("flow", sort=False):
        ends = [f"{number(end['mean'])} at {number(end['place'])}" for end in (line.iloc[0], line.iloc[-1])]
        found.append(f"{label} from {' to '.join(ends)}")
    return "; ".join(found)
