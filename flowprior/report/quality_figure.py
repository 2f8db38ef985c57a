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

from flowprior.errors import OptionError
from flowprior.evaluation.result import ADAPTIVE, REAL_DATA, Result
from flowprior.report.evaluation_table import title_of
from flowprior.report.wording import ARROWS
from flowprior.storage import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

SUFFIXES = (".png", ".svg", ".pdf")
PANELS = 3
"""Of an evaluation's figure, beside each other."""
PANEL_SIZE = (4.2, 3.2)
"""Width and height in inches."""
MARKERS = "os^Dvx"
WIDE_RANGE = 4
"""Values that span more than this factor have a logarithmic axis."""
MANY_TICKS = 500
"""Those that span more than this factor have a tick a decade."""
GAP = 13.5
"""Points between the names at the ends of curves."""
GREY = "0.5"
Styles = Mapping[Any, Mapping[str, Any]]
"""Group -> what matplotlib's ``errorbar`` takes, such as ``{"label": "ours", "color": "C0"}``."""


def save_plot(result: Result, path: Path | str) -> None:
    """Draw every metric of ``result`` against the number of evaluations into a picture.

    Raises:
        OptionError: pandas is not installed, or another suffix than .png, .svg or .pdf.
        CheckpointError: the file cannot be written.
    """
    path = Path(path)
    check_suffix(path)
    figure = evaluation_figure(result)
    with replacing(path, keep_suffix=True) as temporary:
        figure.savefig(temporary, dpi=150)


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
    from matplotlib.figure import Figure

    metrics = result.quality_metrics
    if not metrics:
        raise OptionError("plot: none of the metrics depends on NFE; choose others (--metrics)")
    columns = 2 if len(metrics) == 4 else min(PANELS, len(metrics))
    rows = math.ceil(len(metrics) / columns)
    width, height = PANEL_SIZE
    figure = Figure(figsize=(width * columns, height * rows + 0.9), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flatten())
    frame = result.frame()
    group = ["sampler"] if frame["guidance"].nunique() < 2 else ["sampler", "guidance"]
    for axes, (name, info) in zip(panels, metrics.items(), strict=False):
        draw_quality(axes, frame, name, group=group, real_data_score=result.real_data_score(name))
        axes.set_title(name + ARROWS.get(info.better, ""), fontsize=10, parse_math=False)
    for axes in panels[len(metrics) :]:
        axes.set_axis_off()
    _legend(figure)
    settings, seeds = result.settings, frame["seed"].nunique()
    bars = f", bars: deviation over {seeds} seeds" if seeds > 1 else ""
    terms = f"{settings['samples']} samples against {settings['reference']}{bars}"
    figure.suptitle(f"{title_of(result)}\n{terms}", fontsize=10, parse_math=False)
    return figure


def _legend(figure: Figure) -> None:
    """One legend below all panels, the real-data score last."""
    pairs = [pair for axes in figure.axes for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    entries = {label: handle for handle, label in pairs}
    labels = sorted(entries, key=lambda label: label == REAL_DATA)
    columns = min(len(labels), 4)
    handles = [entries[label] for label in labels]
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    plain_text(legend.get_texts())


def draw_quality(
    axes: Axes,
    frame: DataFrame,
    metric: str,
    *,
    group: str | Sequence[str],
    styles: Styles | None = None,
    real_data_score: float | None = None,
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
        group: the column, or the columns, that tell curves apart; everything else is averaged over.
        styles: group -> look of its curve; its ``label`` is its name. A group of several columns is a tuple.
        real_data_score: drawn as a dotted line.
        level_name: what the dotted line is called.
        doubling: space x by powers of two; 0 stands one doubling before the first of the others.
        x: the column along the bottom, ``"nfe"`` or ``"step"``.
    """
    keys = [group] if isinstance(group, str) else list(group)
    means = means_of(frame, metric, keys, x)
    places = sorted(means["place"].unique())
    curves = list(means.groupby(keys if len(keys) > 1 else keys[0], sort=False))
    for number, ((key, curve), marker) in enumerate(zip(curves, cycle(MARKERS), strict=False)):
        look = {"label": _name(key), "marker": marker} | dict((styles or {}).get(key, {}))
        at = curve["place"]
        if doubling:
            at = _beside(at, number / len(curves) - 0.5, min(filter(None, places), default=1))
        axes.errorbar(at, curve["mean"], curve["std"].fillna(0), **{"ms": 4, "capsize": 3, "lw": 1.6, **look})
    if real_data_score is not None:
        axes.axhline(real_data_score, color=GREY, ls=":", lw=1, label=level_name, zorder=1)
    _set_height(axes, [*means["mean"], *([] if real_data_score is None else [real_data_score])])
    _set_width(axes, places, doubling)
    prior = " (0: the prior alone)" if x == "nfe" and 0 in places else ""
    axes.set_xlabel({"nfe": "NFE", "step": "training steps"}.get(x, x) + prior)
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
    scale = 72 / figure.dpi
    box = axes.get_window_extent()
    low, high = box.y0 * scale, box.y1 * scale
    handles, labels = axes.get_legend_handles_labels()
    lines: list[Any] = [getattr(handle, "lines", [handle])[0] for handle in handles]
    ends = [float(axes.transData.transform((1, line.get_ydata()[-1]))[1]) * scale for line in lines]
    for line, name, place in zip(lines, labels, spread_out(ends, GAP, low, high), strict=True):
        axes.annotate(
            name,
            (1, (place - low) / (high - low)),
            xycoords="axes fraction",
            xytext=(7, 0),
            textcoords="offset points",
            va="center_baseline",
            color=line.get_color(),
            annotation_clip=False,
            parse_math=False,
        )


def spread_out(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """``places`` moved as little as a sweep up and one down can, to lie ``gap`` apart within the range.

    Where the range is too small for all of them they run out at its lower end.
    """
    order = sorted(range(len(places)), key=lambda number: places[number])
    moved = list(places)
    for before, number in zip([None, *order], order, strict=False):
        moved[number] = max(moved[number], low if before is None else moved[before] + gap)
    for after, number in zip([None, *reversed(order)], reversed(order), strict=False):
        moved[number] = min(moved[number], high if after is None else moved[after] - gap)
    return moved


def plain_text(texts: Sequence[Any]) -> None:
    """A dollar sign in a name is no formula."""
    for text in texts:
        text.set_parse_math(False)


def _name(key: Any) -> str:
    return ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)


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
