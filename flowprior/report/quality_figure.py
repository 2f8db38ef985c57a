"""Quality against the number of evaluations or training steps: one curve a group, bars of one deviation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any, Literal

from flowprior.evaluation.result import ADAPTIVE, REAL_DATA

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

SIZE = (4.8, 3.4)
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


def quality_figure(
    frame: DataFrame,
    metric: str,
    *,
    group: str | Sequence[str],
    styles: Styles | None = None,
    real_data_score: float | None = None,
    doubling: bool = True,
    x: str = "nfe",
    names: Literal["legend", "ends"] = "legend",
    size: tuple[float, float] = SIZE,
) -> Figure:
    """One metric of a long table as curves.

    Args:
        frame: rows of the long table, see :meth:`flowprior.evaluation.Result.frame`; those of real data and
            of other metrics are passed over.
        metric: its name.
        group: the column, or the columns, that tell curves apart; everything else is averaged over.
        styles: group -> look of its curve; its ``label`` is its name. A group of several columns is a tuple.
        real_data_score: drawn as a dotted line.
        doubling: space x by powers of two; 0 stands one doubling before the first of the others.
        x: the column along the bottom, ``"nfe"`` or ``"step"``.
        names: of the curves, in a legend or at their right ends.
        size: width and height in inches.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    options: dict[str, Any] = {"real_data_score": real_data_score, "doubling": doubling, "x": x}
    draw_quality(axes, frame, metric, group=group, styles=styles, **options)
    if names == "ends":
        name_ends(axes)
    else:
        plain_text(axes.legend(frameon=False, fontsize=8).get_texts())
    return figure


def draw_quality(
    axes: Axes,
    frame: DataFrame,
    metric: str,
    *,
    group: str | Sequence[str],
    styles: Styles | None = None,
    real_data_score: float | None = None,
    doubling: bool = True,
    x: str = "nfe",
) -> None:
    """Draw :func:`quality_figure` into ``axes``, without names."""
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
        axes.axhline(real_data_score, color=GREY, ls=":", lw=1, label=REAL_DATA, zorder=1)
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


def set_doubling_scale(axes: Axes, counts: Sequence[float]) -> None:
    """Space numbers by powers of two along the bottom.

    0, which has no logarithm, stands as far before the least of the others as its half would.
    """
    positive = [count for count in counts if count > 0]
    if not positive:
        axes.set_xlim(-1, 1)
    elif len(positive) == len(counts):
        axes.set_xscale("log", base=2)
    else:
        # Between 0 and the threshold the axis is linear, and linscale=0.5 makes that stretch one doubling.
        axes.set_xscale("symlog", base=2, linthresh=min(positive), linscale=0.5)


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
    from matplotlib.ticker import MaxNLocator

    if not doubling:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        return
    set_doubling_scale(axes, places)
    axes.set_xticks(places, [f"{place:.3g}" for place in places])
    axes.set_xticks([], minor=True)
