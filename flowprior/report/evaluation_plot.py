"""Quality against the number of evaluations, one panel a metric, one curve a sampler and guidance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowprior.errors import OptionError
from flowprior.report.evaluation_table import ARROWS
from flowprior.storage import replacing

if TYPE_CHECKING:
    from flowprior.evaluation.sweep_result import Line, Sweep
    from flowprior.metrics.base import MetricInfo

SUFFIXES = (".png", ".svg", ".pdf")
COLUMNS = 3
WIDTH, HEIGHT = 4.2, 3.2
MARKERS = "os^Dvx"
FLOOR = "real data"
LOGARITHMIC = 20
"""Figures that span more than this factor are drawn on a logarithmic axis."""


def save_plot(sweep: Sweep, path: Path | str) -> None:
    """Draw every metric of ``sweep``; bars are deviations over seeds, a dashed line is the floor.

    Raises:
        OptionError: matplotlib is not installed, or another suffix than .png, .svg or .pdf.
        CheckpointError: the file cannot be written.
    """
    path = Path(path)
    check_suffix(path)
    figure = _draw(sweep)
    with replacing(path, keep_suffix=True) as temporary:
        figure.savefig(temporary, dpi=150)


def check_suffix(path: Path | str) -> None:
    """Refuse what a plot cannot be written to, before anything is computed.

    Raises:
        OptionError: another suffix, or matplotlib is not installed.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise OptionError(f"plot: cannot write '{path}'; choose a name that ends in {', '.join(SUFFIXES)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise OptionError("plot: matplotlib is not installed; pip install 'flowprior[plot]'") from error


def _draw(sweep: Sweep) -> Any:
    from matplotlib.figure import Figure

    metrics, lines = sweep.metrics, sweep.lines()
    if not metrics:
        raise OptionError("plot: none of the metrics depends on NFE; choose others (--metrics)")
    columns = 2 if len(metrics) == 4 else min(COLUMNS, len(metrics))
    rows = math.ceil(len(metrics) / columns)
    figure = Figure(figsize=(WIDTH * columns, HEIGHT * rows + 0.9), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flatten())
    for axis, (name, metric) in zip(axes, metrics.items(), strict=False):
        _panel(axis, name, metric, lines)
    for axis in axes[len(metrics) :]:
        axis.set_axis_off()
    _legend(figure, axes)
    settings = sweep.evaluations[0].settings
    terms = f"{settings['samples']} samples against {settings['reference']}"
    seeds = f", bars: deviation over {len(sweep.seeds)} seeds" if len(sweep.seeds) > 1 else ""
    title = f"{settings['prior']} + {settings['coupling']} on {settings['data']}"
    figure.suptitle(f"{title}\n{terms}{seeds}", fontsize=10, parse_math=False)
    return figure


def _legend(figure: Any, axes: Sequence[Any]) -> None:
    """One legend below all panels, the floor last."""
    pairs = [pair for axis in axes for pair in zip(*axis.get_legend_handles_labels(), strict=True)]
    entries = {label: handle for handle, label in pairs}
    labels = sorted(entries, key=lambda label: label == FLOOR)
    handles = [entries[label] for label in labels]
    options = {"loc": "outside lower center", "ncols": min(len(labels), 4), "frameon": False}
    for text in figure.legend(handles, labels, **options).get_texts():
        text.set_parse_math(False)  # A dollar sign in a name is no formula.


def _panel(axis: Any, name: str, metric: MetricInfo, lines: Sequence[Line]) -> None:
    curves: dict[tuple[str, float], list[Line]] = {}
    for line in lines:
        if name in line.figures:
            curves.setdefault((line.sampler, line.guidance), []).append(line)
    guided = len({line.guidance for line in lines}) > 1
    for ((sampler, guidance), found), marker in zip(curves.items(), cycle(MARKERS), strict=False):
        points = sorted(found, key=lambda line: line.nfe)
        label = f"{sampler}, guidance {guidance:g}" if guided else sampler
        heights = [line.figures[name].mean for line in points]
        bars = [line.figures[name].std or 0.0 for line in points]
        counts = [line.nfe for line in points]
        axis.errorbar(counts, heights, bars, marker=marker, ms=4, capsize=3, label=label)
    if metric.real_data_score is not None:
        axis.axhline(metric.real_data_score, color="0.5", ls="--", lw=1, label=FLOOR)
    _axes(axis, sorted({line.nfe for line in lines}), _values(curves, name, metric))
    axis.set_title(name + ARROWS.get(metric.better, ""), fontsize=10, parse_math=False)
    axis.set_xlabel("NFE (0: the prior alone)" if any(line.nfe == 0 for line in lines) else "NFE")
    axis.grid(alpha=0.25)


def _values(curves: dict[tuple[str, float], list[Line]], name: str, metric: MetricInfo) -> list[float]:
    floor = [] if metric.real_data_score is None else [metric.real_data_score]
    return [line.figures[name].mean for points in curves.values() for line in points] + floor


def _axes(axis: Any, counts: Sequence[float], values: Sequence[float]) -> None:
    """Powers of two along the bottom, and 0 a step before; a logarithmic height for figures of decades."""
    set_doubling_scale(axis, counts)
    axis.set_xticks(counts, [f"{count:g}" for count in counts], fontsize=8)
    axis.set_xticks([], minor=True)
    if values and min(values) > 0 and max(values) > LOGARITHMIC * min(values):
        axis.set_yscale("log")


def set_doubling_scale(axis: Any, counts: Sequence[float]) -> None:
    """Space NFE by powers of two along the bottom of matplotlib's ``axis``.

    0, which has no logarithm, stands as far before the least of the others as its half would.
    """
    positive = [count for count in counts if count > 0]
    if not positive:
        axis.set_xlim(-1, 1)
    elif len(positive) == len(counts):
        axis.set_xscale("log", base=2)
    else:
        # Between 0 and the threshold the axis is linear, and linscale=0.5 makes that stretch one doubling.
        axis.set_xscale("symlog", base=2, linthresh=min(positive), linscale=0.5)
