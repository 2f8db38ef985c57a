"""The values of a comparison as one figure: a panel a metric, a curve with its own marker a variant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowprior.errors import OptionError
from flowprior.pictures import save_figure
from flowprior.pictures.curves import Curve, draw_curves
from flowprior.pictures.looks import short_names
from flowprior.pictures.quality import evaluations_label
from flowprior.report.quality_figure import check_suffix, metric_panels

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
        curves = _curves(summary, metric)
        level = summary["metrics"][metric]["real_data_score"]
        draw_curves(axes, curves, better=better[metric], level=level)
        axes.set_xlabel(evaluations_label(any(0 in curve.places for curve in curves.values())))

    seeds = len(summary["grid"]["seeds"])
    bars = f", bars: deviation over {seeds} seeds" if seeds > 1 else ""
    return metric_panels(better, draw, f"{summary['grid']['data']}{bars}")


def _curves(summary: Mapping[str, Any], metric: str) -> dict[str, Curve]:
    """Means and deviations of each variant, under its short name."""
    short = short_names([variant["label"] for variant in summary["variants"]])
    several = len(summary["samplers"]) > 1
    found: dict[str, list[dict[str, Any]]] = {}
    for row in summary["quality"]:
        if row["metric"] == metric:
            sampler = f", {row['sampler']}" * several
            found.setdefault(short[row["variant"]] + sampler, []).append(row)
    curves = {}
    for name, rows in found.items():
        rows = sorted(rows, key=lambda row: row["nfe"])
        deviations = [row["std"] or 0.0 for row in rows]
        curves[name] = Curve([row["nfe"] for row in rows], [row["mean"] for row in rows], deviations)
    return curves
