"""Values against the number of evaluations: figures of an evaluation and of a comparison, charts of the page.

The figure of an evaluation has a panel for each metric and a curve for each sampler; that of a comparison has
a curve with a marker of its own for each variant. The page shows one chart for each metric and sampler, and
others of values against training steps.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from html import escape
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowprior.display import counted
from flowprior.errors import OptionError
from flowprior.evaluation.result import REAL_DATA, Result
from flowprior.pictures import SUFFIXES, figure_bytes, save_figure
from flowprior.pictures.quality import (
    BETTER,
    Curve,
    draw_curves,
    evaluations_label,
    legible_names,
    look,
    name_below,
    named_lines,
    short_names,
)
from flowprior.report.terminal import lines_of, title_of
from flowprior.report.wording import ARROWS, number
from flowprior.storage import check_place
from flowprior.study.statistics import grouped
from flowprior.study.summary import Rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 3
"""Of an evaluation's figure, beside each other."""
PANEL_SIZE = (4.2, 3.2)
"""Width and height in inches."""
LETTERS_AN_INCH, SAMPLE_LETTERS, MOST_COLUMNS = 13, 6, 4
"""Of a legend: letters that go into an inch, those that a line's sample takes, and columns at most."""
PLAIN_TEXT: Any = {"text.parse_math": False}
"""A dollar sign in a name is no formula."""
CHART_WIDTH, CHART_HEIGHT, LINE_HEIGHT = 344, 250, 13.5
"""Of a chart, in points; one is as much higher for each name below it."""
Names = Mapping[str, str]
"""Label of a variant -> what a chart calls it; the first ones have the first looks."""


def save_plot(result: Result, path: Path | str) -> None:
    """Draw every metric of ``result`` against the number of evaluations into a picture.

    Raises:
        OptionError: a suffix that no picture has.
        CheckpointError: the file cannot be written.
    """
    check_plot(path)
    save_figure(evaluation_figure(result), path)


def evaluation_figure(result: Result) -> Figure:
    """Every metric of ``result``; bars are deviations over seeds, a dotted line is the real-data score.

    Raises:
        OptionError: none of the metrics depends on the number of evaluations.
    """
    metrics, settings = result.quality_metrics, result.settings
    if not metrics:
        raise OptionError("plot: none of the metrics depends on NFE; choose others (--metrics)")
    lines = sorted(lines_of(result), key=lambda line: line.nfe)
    several = len({line.guidance for line in lines}) > 1
    groups = grouped(lines, lambda line: f"{line.sampler}, {line.guidance}" if several else line.sampler)
    bars = f", bars: deviation over {n} seeds" if (n := len(settings["seeds"])) > 1 else ""
    terms = f"{settings['samples']} samples against {settings['reference']}{bars}"

    def draw(axes: Axes, name: str) -> None:
        curves = {}
        for group, own in groups.items():
            found = [(line.nfe, line.values[name]) for line in own if name in line.values]
            values = ((nfe, value.mean, value.std or 0.0) for nfe, value in found)
            curves[group] = Curve(*zip(*values, strict=True))
        draw_curves(axes, curves, better=metrics[name].better, level=result.real_data_score(name))
        axes.set_xlabel(evaluations_label(any(line.nfe == 0 for line in lines)))

    better = {name: info.better for name, info in metrics.items()}
    return metric_panels(better, draw, f"{title_of(result)}\n{terms}")


def save_comparison(summary: Mapping[str, Any], path: Path | str) -> None:
    """Draw the values of a comparison against the number of evaluations into a picture.

    Args:
        summary: what :func:`flowprior.report.write_report` returned, or report.json holds.
        path: of the file; its suffix decides the format.

    Raises:
        OptionError: no values yet, or a suffix that no picture has.
        CheckpointError: the file cannot be written.
    """
    check_plot(path)
    save_figure(comparison_figure(summary), path)


def comparison_figure(summary: Mapping[str, Any]) -> Figure:
    """Every metric of which one side is better, by variant; where there are several samplers, by both.

    Raises:
        OptionError: there is no value yet.
    """
    there = {row["metric"] for row in summary["quality"]}
    better = {name: about["better"] for name, about in summary["metrics"].items() if name in there}
    better = {name: side for name, side in better.items() if side}
    if not better:
        raise OptionError("plot: no run has a value yet; run the comparison first")

    def draw(axes: Axes, metric: str) -> None:
        rows = [row for row in summary["quality"] if row["metric"] == metric]
        curves = {
            name + f", {sampler}" * (len(summary["samplers"]) > 1): curve
            for sampler, own in grouped(rows, itemgetter("sampler")).items()
            for name, curve in curves_of(own, names).items()
        }
        level = summary["metrics"][metric]["real_data_score"]
        draw_curves(axes, curves, better=better[metric], level=level)
        axes.set_xlabel(evaluations_label(any(0 in curve.places for curve in curves.values())))

    names = legible_names([variant["label"] for variant in summary["variants"]])
    seeds = len(summary["grid"]["seeds"])
    bars = f", bars: deviation over {seeds} seeds" if seeds > 1 else ""
    return metric_panels(better, draw, f"{summary['grid']['data']}{bars}")


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
        texts = {"better": better, "about": f"with {counted(round(goal['nfe']), 'evaluation')}"}
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
    height = CHART_HEIGHT + LINE_HEIGHT * (len(curves) + 1)
    with rc_context(PLAIN_TEXT):
        figure = Figure(figsize=(CHART_WIDTH / 72, height / 72), layout="constrained")
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


def check_plot(path: Path | str) -> None:
    """Refuse a file that a plot cannot be written to, before anything is computed.

    Raises:
        OptionError: a suffix that no picture has.
        CheckpointError: a folder that takes no file.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise OptionError(f"plot: cannot write '{path}'; choose a name that ends in {', '.join(SUFFIXES)}")
    check_place(path)


def curves_of(rows: Rows, names: Mapping[str, str], x: str = "nfe") -> dict[str, Curve]:
    """Means and deviations of each variant along ``x``, under its name; ``rows`` are of one metric."""
    ordered = sorted(rows, key=itemgetter(x))
    return {
        name: Curve([row[x] for row in own], [row["mean"] for row in own], [row["std"] or 0.0 for row in own])
        for name, own in grouped(ordered, lambda row: names[row["variant"]]).items()
    }


def chart_names(summary: Mapping[str, Any]) -> Names:
    """The names of the variants that are run."""
    return legible_names([variant["label"] for variant in summary["variants"] if not variant["skipped"]])


def metric_panels(better: Mapping[str, str], draw: Callable[[Axes, str], None], title: str) -> Figure:
    """A figure with a panel for each metric, one legend and a title.

    Args:
        better: metric -> ``"lower"``, ``"higher"`` or ``""``.
        draw: draws the curves of a metric into axes.
        title: of the figure.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    columns = 2 if len(better) == 4 else min(PANELS, len(better))
    rows = math.ceil(len(better) / columns)
    size = (PANEL_SIZE[0] * columns, PANEL_SIZE[1] * rows + 0.9)
    with rc_context(PLAIN_TEXT):
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        for number, (name, side) in enumerate(better.items(), 1):
            axes = figure.add_subplot(rows, columns, number)
            draw(axes, name)
            axes.set_title(name + ARROWS[side], fontsize=10)
        _legend(figure)
        figure.suptitle(title, fontsize=10)
    return figure


def _legend(figure: Figure) -> None:
    """One legend below all panels, in as many columns as there is room for; the real-data score is last."""
    lines = {name: line for axes in figure.axes for name, line in named_lines(axes).items()}
    labels = sorted(lines, key=lambda label: label == REAL_DATA)
    names = list(short_names(labels).values())
    room = LETTERS_AN_INCH * figure.get_figwidth() / (max(map(len, names)) + SAMPLE_LETTERS)
    columns = min(len(names), MOST_COLUMNS, max(1, int(room)))
    handles = [lines[label] for label in labels]
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False)
