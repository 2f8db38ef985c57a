"""The values of a comparison as one figure: a panel a metric, a curve with its own marker a variant."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowprior.errors import OptionError
from flowprior.pictures import save_figure
from flowprior.pictures.quality import Curve, draw_curves, evaluations_label, legible_names
from flowprior.report.quality_figure import check_suffix, metric_panels
from flowprior.study.statistics import grouped
from flowprior.study.summary import Rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def save_comparison(summary: Mapping[str, Any], path: Path | str) -> None:
    """Draw the values of a comparison against the number of evaluations into a picture.

    Args:
        summary: what :func:`flowprior.report.write_report` returned, or report.json holds.
        path: of the file; its suffix decides the format.

    Raises:
        OptionError: no values yet, or a suffix that no picture has.
        CheckpointError: the file cannot be written.
    """
    check_suffix(path)
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
        raise OptionError("plot: no cell has a value yet; run the comparison first")

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


def curves_of(rows: Rows, names: Mapping[str, str], x: str = "nfe") -> dict[str, Curve]:
    """Means and deviations of each variant along ``x``, under its name; ``rows`` are of one metric."""
    ordered = sorted(rows, key=itemgetter(x))
    return {
        name: Curve([row[x] for row in own], [row["mean"] for row in own], [row["std"] or 0.0 for row in own])
        for name, own in grouped(ordered, lambda row: names[row["variant"]]).items()
    }
