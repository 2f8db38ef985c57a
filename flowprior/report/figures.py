"""Values against the number of evaluations: figures of an evaluation and of a comparison, charts of the page.

A figure has a panel for each metric, with a curve for each sampler of an evaluation or each variant of a
comparison. The page shows each panel by itself, and others of values against training steps.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowprior.display.shown import counted
from flowprior.errors import OptionError
from flowprior.evaluation.result import REAL_DATA, Result
from flowprior.evaluation.summary import Row, grouped
from flowprior.pictures import save_figure
from flowprior.pictures.quality import (
    BETTER,
    Curve,
    draw_curves,
    evaluations_label,
    legible_names,
    named_lines,
)
from flowprior.pictures.saving import SUFFIXES, figure_bytes
from flowprior.report.terminal import title_of
from flowprior.report.wording import ARROWS
from flowprior.storage.writing import check_place
from flowprior.study.summary import Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = 3
"""The largest number of panels beside each other."""
PANEL_SIZE = (4.2, 3.2)
"""The width and height of a panel in inches."""
LETTERS_AN_INCH, SAMPLE_LETTERS, MOST_COLUMNS = 13, 6, 4
"""The letters of a legend in an inch, those that the sample of a line takes, and the most columns."""
PLAIN_TEXT: Any = {"text.parse_math": False}
"""A dollar sign in a name is no formula."""


def save_plot(result: Result, path: Path | str) -> None:
    """Plot every metric of ``result`` against the number of evaluations into a file.

    Raises:
        OptionError: no metric depends on the number of evaluations, or a suffix that no figure has.
        CheckpointError: the file cannot be written.
    """
    check_plot(path)
    save_figure(evaluation_figure(result), path)


def evaluation_figure(result: Result) -> Figure:
    """Return a panel for each metric; bars are deviations over seeds, a dotted line is the real-data score.

    Raises:
        OptionError: none of the metrics depends on the number of evaluations.
    """
    metrics, settings, rows = result.quality_metrics, result.settings, result.means()
    if not metrics:
        raise OptionError("plot: none of the metrics depends on NFE; choose others (--metrics)")
    several = len({row["guidance"] for row in rows}) > 1
    about = {name: (info.better, result.real_data_score(name)) for name, info in metrics.items()}
    bars = f", bars: deviation over {n} seeds" if (n := len(settings["seeds"])) > 1 else ""
    title = f"{title_of(result)}\n{settings['samples']} samples against {settings['reference']}{bars}"

    def name(row: Row) -> str:
        return f"{row['sampler']}, {row['guidance']}" if several else row["sampler"]

    return metric_panels(about, rows, name, title)


def comparison_figure(summary: Mapping[str, Any]) -> Figure:
    """Return a panel for each metric of which one side is better, with a curve for each variant and sampler.

    Raises:
        OptionError: there is no value yet.
    """
    about = _ranked(summary, summary["quality"])
    if not about:
        raise OptionError("plot: no run has a value yet; run the comparison first")
    seeds = len(summary["grid"]["seeds"])
    bars = f", bars: deviation over {seeds} seeds" if seeds > 1 else ""
    title = f"{summary['grid']['data']}{bars}"
    return metric_panels(about, summary["quality"], _curve_namer(summary), title)


def charts(summary: Mapping[str, Any], x: str = "nfe") -> list[dict[str, str]]:
    """Return one chart for each metric, an ``<img>`` element beside its name, better side and description.

    Args:
        summary: of :func:`flowprior.study.summary.summarise`.
        x: what stands along the bottom, ``"nfe"`` or ``"step"``.
    """
    rows, found = summary["quality" if x == "nfe" else "curve"], []
    for metric, about in _ranked(summary, rows).items():
        figure = metric_panels({metric: about}, rows, _curve_namer(summary, x), "", x)
        source = f"data:image/svg+xml;base64,{base64.b64encode(figure_bytes(figure, 'svg')).decode()}"
        axis = {"nfe": "evaluations", "step": "training steps"}[x]
        image = f'<img src="{source}" alt="{escape(metric)} against {axis}">'
        description = summary["metrics"][metric]["description"]
        found.append({"metric": metric, "better": BETTER[about[0]], "about": description, "image": image})
    return found


def _ranked(summary: Mapping[str, Any], rows: Rows) -> dict[str, tuple[str, float | None]]:
    """Return the better side and the real-data score of the metrics of these rows that have such a side."""
    there = {row["metric"] for row in rows}
    return {
        name: (about["better"], about["real_data"].get("test"))
        for name, about in summary["metrics"].items()
        if name in there and about["better"]
    }


def _curve_namer(summary: Mapping[str, Any], x: str = "nfe") -> Callable[[Row], str]:
    """Return a function that names the curve of a row; sampler or NFE are named if there are several."""
    names = legible_names([variant["label"] for variant in summary["variants"]])

    def name(row: Row) -> str:
        if x == "step":
            return f"{names[row['variant']]}, {counted(round(row['nfe']), 'evaluation')}"
        return names[row["variant"]] + f", {row['sampler']}" * (len(summary["samplers"]) > 1)

    return name


def check_plot(path: Path | str) -> None:
    """Refuse a file that a plot cannot be written to, before anything is computed.

    Raises:
        OptionError: a suffix that no picture has.
        CheckpointError: a folder that takes no file.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise OptionError(f"plot: cannot write '{path}'; choose a name that ends in {', '.join(SUFFIXES)}")
    check_place(path)


def curves_of(rows: Rows, name: Callable[[Row], str], x: str = "nfe") -> dict[str, Curve]:
    """Return means and deviations along ``x`` under the name of each row; ``rows`` are of one metric."""
    return {
        label: Curve(*zip(*sorted((row[x], row["mean"], row["std"] or 0.0) for row in own), strict=True))
        for label, own in grouped(rows, name).items()
    }


def metric_panels(
    about: Mapping[str, tuple[str, float | None]],
    rows: Rows,
    name: Callable[[Row], str],
    title: str,
    x: str = "nfe",
) -> Figure:
    """Return a figure with a panel for each metric, one legend and a title.

    Args:
        about: metric -> its better side, ``"lower"``, ``"higher"`` or ``""``, and its real-data score.
        rows: of a summary.
        name: gives the name of the curve of a row.
        title: of the figure; empty for none, and none of its panel either.
        x: what stands along the bottom, ``"nfe"`` or ``"step"``.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    columns = 2 if len(about) == 4 else min(PANELS, len(about))
    lines = math.ceil(len(about) / columns)
    size = (PANEL_SIZE[0] * columns, PANEL_SIZE[1] * lines + 0.9)
    with rc_context(PLAIN_TEXT):
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        for number, (metric, (better, level)) in enumerate(about.items(), 1):
            axes = figure.add_subplot(lines, columns, number)
            curves = curves_of([row for row in rows if row["metric"] == metric], name, x)
            draw_curves(axes, curves, better=better, level=level, doubling=x == "nfe")
            with_prior = any(0 in curve.places for curve in curves.values())
            axes.set_xlabel(evaluations_label(with_prior) if x == "nfe" else "training steps")
            axes.set_title((metric + ARROWS[better]) if title else "", fontsize=10)
        _legend(figure)
        figure.suptitle(title, fontsize=10)
    return figure


def _legend(figure: Figure) -> None:
    """Draw one legend below all panels, in as many columns as there is room for; real data come last."""
    lines = {name: line for axes in figure.axes for name, line in named_lines(axes).items()}
    labels = sorted(lines, key=lambda label: label == REAL_DATA)
    names = list(legible_names(labels).values())
    room = LETTERS_AN_INCH * figure.get_figwidth() / (max(map(len, names)) + SAMPLE_LETTERS)
    columns = min(len(names), MOST_COLUMNS, max(1, int(room)))
    handles = [lines[label] for label in labels]
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False)
