"""The charts of the report: which lines belong in which one."""

from __future__ import annotations

import re
from typing import Any

from flowprior.report.charts import Level, Line, line_chart
from flowprior.report.styles import Style
from flowprior.report.wording import evaluations, number

ARROWS = {"lower": "lower is better", "higher": "higher is better", "": ""}


def quality_charts(summary: dict[str, Any], looks: dict[str, Style]) -> list[dict[str, Any]]:
    """One group of charts for each sampler, one chart for each metric: figures against NFE."""
    groups = []
    for place, sampler in enumerate(summary["samplers"]):
        rows = [row for row in summary["quality"] if row["sampler"] == sampler]
        charts = []
        for metric, about in summary["metrics"].items():
            lines = _lines([row for row in rows if row["metric"] == metric], looks, "nfe")
            if not lines or not about["better"]:
                continue
            score = about["real_data_score"]
            chart = line_chart(
                lines,
                name=_identifier(f"quality-{place}-{metric}"),
                description=_describe(metric, lines, "evaluations"),
                x_label="evaluations of the network (NFE)",
                doubling=not any(row["adaptive"] for row in rows),
                level=None if score is None else Level(score, "real data"),
            )
            charts.append(_entry(metric, about, chart, about["description"]))
        if charts:
            groups.append({"sampler": sampler, "charts": charts})
    return groups


def convergence_charts(summary: dict[str, Any], looks: dict[str, Style]) -> list[dict[str, Any]]:
    """One chart for each metric and NFE of the curve: figures against training steps."""
    charts = []
    for goal in summary["convergence"]:
        metric, nfe = goal["metric"], goal["nfe"]
        rows = [row for row in summary["curve"] if row["metric"] == metric and row["nfe"] == nfe]
        lines = _lines(rows, looks, "step")
        chart = line_chart(
            lines,
            name=_identifier(f"convergence-{nfe:g}-{metric}"),
            description=_describe(metric, lines, "training steps"),
            x_label="training steps",
            doubling=False,
            level=Level(goal["target"], "baseline, in the end"),
        )
        about = summary["metrics"][metric]
        charts.append(_entry(metric, about, chart, f"with {evaluations(nfe, False)}"))
    return charts


def _lines(rows: list[dict[str, Any]], looks: dict[str, Style], axis: str) -> list[Line]:
    lines = []
    for label, look in looks.items():
        own = sorted((row for row in rows if row["variant"] == label), key=lambda row: row[axis])
        if own:
            columns = ([row[name] for row in own] for name in (axis, "mean", "std"))
            lines.append(Line(look, *columns))
    return lines


def _entry(metric: str, about: dict[str, Any], chart: str, text: str) -> dict[str, Any]:
    return {"metric": metric, "better": ARROWS[about["better"]], "about": text, "svg": chart}


def _describe(metric: str, lines: list[Line], axis: str) -> str:
    ends = "; ".join(
        f"{line.style.label} from {number(line.y[0])} at {number(line.x[0])} to {number(line.y[-1])} "
        f"at {number(line.x[-1])}"
        for line in lines
    )
    return f"{metric} against {axis}: {ends}"


def _identifier(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
