"""Quality against the number of evaluations or training steps: one curve a group, bars of one deviation.

One metric of any long table is a figure; an evaluation is one with a panel for each of its metrics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flowprior.errors import OptionError
from flowprior.evaluation.result import ADAPTIVE, REAL_DATA, Result
from flowprior.pictures import SUFFIXES, save_figure
from flowprior.report.terminal import title_of
from flowprior.report.wording import ARROWS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

PANELS = 3
"""Of an evaluation's figure, beside each other."""
PANEL_SIZE = (4.2, 3.2)
"""Width and height in inches."""
PLAIN_TEXT: Any = {"text.parse_math": False}
"""A dollar sign in a name is no formula."""
MARKERS = "os^Dvx"
WIDE_RANGE = 4
"""Values that span more than this factor have a logarithmic axis."""
MANY_TICKS = 500
"""Those that span more than this factor have a tick a decade."""
GAP = 13.5
"""Points between the names at the ends of curves."""


def save_plot(result: Result, path: Path | str) -> None:
    """Draw every metric of ``result`` against the number of evaluations into a picture.

    Raises:
        OptionError: pandas is not installed, or a suffix that no picture has.
        CheckpointError: the file cannot be written.
    """
    check_suffix(path)
    save_figure(evaluation_figure(result), path)


def check_suffix(path: Path | str) -> None:
    """Refuse what a plot cannot be written to, before anything is computed.

    Raises:
        OptionError: another suffix, or pandas is not installed.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise OptionError(f"plot: cannot write '{path}'; choose a name that ends in {', '.join(SUFFIXES)}")
    if find_spec("pandas") is None:
        raise OptionError("plot: pandas is not installed; pip install 'flowprior[plot]'")


def evaluation_figure(result: Result) -> Figure:
    """Every metric of ``result``; bars are deviations over seeds, a dotted line is the real-data score.

    Raises:
        OptionError: none of the metrics depends on the number of evaluations.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    metrics, settings, frame = result.quality_metrics, result.settings, result.frame()
    if not metrics:
        raise OptionError("plot: none of the metrics depends on NFE; choose others (--metrics)")
    columns = 2 if len(metrics) == 4 else min(PANELS, len(metrics))
    rows = math.ceil(len(metrics) / columns)
    size = (PANEL_SIZE[0] * columns, PANEL_SIZE[1] * rows + 0.9)
    group = ["sampler"] if frame["guidance"].nunique() < 2 else ["sampler", "guidance"]
    bars = f", bars: deviation over {n} seeds" if (n := frame["seed"].nunique()) > 1 else ""
    terms = f"{settings['samples']} samples against {settings['reference']}{bars}"
    with rc_context(PLAIN_TEXT):
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        for number, (name, info) in enumerate(metrics.items(), 1):
            axes = figure.add_subplot(rows, columns, number)
            draw_quality(axes, frame, name, group=group, level=result.real_data_score(name))
            axes.set_title(name + ARROWS[info.better], fontsize=10)
        _legend(figure)
        figure.suptitle(f"{title_of(result)}\n{terms}", fontsize=10)
    return figure


def _legend(figure: Figure) -> None:
    """One legend below all panels, the real-data score last."""
    pairs = [pair for axes in figure.axes for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    entries = {label: handle for handle, label in pairs}
    labels = sorted(entries, key=lambda label: label == REAL_DATA)
    handles = [entries[label] for label in labels]
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), frameon=False)


def draw_quality(
    axes: Axes,
    frame: DataFrame,
    metric: str,
    *,
    group: Sequence[str],
    styles: Mapping[str, Mapping[str, Any]] | None = None,
    level: float | None = None,
    level_name: str = REAL_DATA,
    doubling: bool = True,
    x: str = "nfe",
) -> None:
    """Draw one metric of a long table as curves, without their names.

    Args:
        axes: what to draw into.
        frame: rows of the long table, see :meth:`flowprior.evaluation.Result.frame`; those of real data and
            of other metrics are passed over.
        metric: its name.
        group: the columns that tell curves apart; everything else is averaged over.
        styles: group -> what ``errorbar`` takes for its curve, such as ``{"label": "ours", "color": "C0"}``;
            a group of several columns is their values with commas between.
        level: drawn as a dotted line, such as the real-data score.
        level_name: what the dotted line is called.
        doubling: space x by powers of two; 0 stands one doubling before the first of the others.
        x: the column along the bottom, ``"nfe"`` or ``"step"``.
    """
    means = means_of(frame, metric, group, x)
    places = sorted(means["place"].unique())
    curves: list[Any] = list(means.groupby(list(group), sort=False))
    for number, ((key, curve), marker) in enumerate(zip(curves, cycle(MARKERS), strict=False)):
        name = ", ".join(map(str, key))
        look = {"label": name, "marker": marker, "ms": 4, "capsize": 3, "lw": 1.6}
        look |= (styles or {}).get(name, {})
        at = curve["place"]
        if doubling:
            at = _beside(at, number / len(curves) - 0.5, min(filter(None, places), default=1))
        axes.errorbar(at, curve["mean"], curve["std"].fillna(0), **look)
    levels = [] if level is None else [level]
    for height in levels:
        axes.axhline(height, color="0.5", ls=":", lw=1, label=level_name, zorder=1)
    _set_height(axes, [*means["mean"], *levels])
    _set_width(axes, places, doubling)
    prior = " (0: the prior alone)" if x == "nfe" and 0 in places else ""
    axes.set_xlabel({"nfe": "NFE", "step": "training steps"}[x] + prior)
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def means_of(frame: DataFrame, metric: str, keys: Sequence[str], x: str = "nfe") -> DataFrame:
    """Columns ``keys``, ``place``, ``mean``, ``std`` of one metric, ascending in place.

    What an adaptive sampler spent differs from seed to seed; its values are one place, at the mean.
    """
    rows: Any = frame[(frame["metric"] == metric) & frame[x].notna() & (frame["flow"] != REAL_DATA)]
    chosen = (rows["grid"] == ADAPTIVE) & (rows["nfe"] > 0) & (x == "nfe")
    rows = rows.assign(place=rows[x].astype(float), asked=rows[x].astype(float).mask(chosen, float("inf")))
    groups = rows.groupby([*keys, "asked"], sort=False, dropna=False)
    means = groups.agg(place=("place", "mean"), mean=("value", "mean"), std=("value", "std")).reset_index()
    return means.sort_values("place", kind="stable")


def name_ends(axes: Axes) -> None:
    """Write each line's name at its right end, moved apart where names would overlap."""
    figure: Any = axes.figure
    figure.draw_without_rendering()
    handles, labels = axes.get_legend_handles_labels()
    lines: list[Any] = [getattr(handle, "lines", [handle])[0] for handle in handles]
    look: Any = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "center_baseline"}
    in_axes = axes.transData - axes.transAxes
    ends = [in_axes.transform((1, line.get_ydata()[-1]))[1] for line in lines]
    gap = GAP / 72 * figure.dpi / axes.get_window_extent().height
    for line, name, place in zip(lines, labels, spread_out(ends, gap, 0, 1), strict=True):
        axes.annotate(name, (1, place), (7, 0), color=line.get_color(), **look)


def spread_out(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """``places`` moved as little as a sweep up and one down can, to lie ``gap`` apart within the range.

    Where the range is too small for all of them they run out at its lower end.
    """
    order, steps = np.argsort(places, kind="stable"), gap * np.arange(len(places))
    up = np.maximum.accumulate(np.fmax(np.asarray(places)[order], low) - steps)
    down = np.minimum.accumulate((np.minimum(up + steps, high) - steps)[::-1])[::-1]
    return (down + steps)[np.argsort(order)].tolist()


def _beside(places: Any, shift: float, least: float) -> Any:
    """Places moved by a share of a doubling, so that bars of different curves stand beside each other."""
    return (places * 2 ** (0.14 * shift)).where(places > 0, 0.14 * shift * least)


def _set_height(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis for values that span a wide range, with plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    if values and min(values) > 0 and max(values) > WIDE_RANGE * min(values):
        axes.set_yscale("log")
        fine = max(values) < MANY_TICKS * min(values)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if fine else (1,), numticks=12))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="y", which="minor", length=0)
    axes.yaxis.set_major_formatter(
        lambda value, _: f"{value / 1000:g}k" if abs(value) >= 1e4 else f"{value:.4g}"
    )


def _set_width(axes: Axes, places: Sequence[float], doubling: bool) -> None:
    """Powers of two are a step apart; 0 stands as far before the least of the others as its half would."""
    from matplotlib.ticker import MaxNLocator

    if not doubling:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        return
    positive = [place for place in places if place > 0]
    if not positive:
        axes.set_xlim(-1, 1)
    elif len(positive) == len(places):
        axes.set_xscale("log", base=2)
    else:
        # Between 0 and the threshold the axis is linear, and linscale=0.5 makes that stretch one doubling.
        axes.set_xscale("symlog", base=2, linthresh=min(positive), linscale=0.5)
    axes.set_xticks(places, [f"{place:.3g}" for place in places])
    axes.set_xticks([], minor=True)
