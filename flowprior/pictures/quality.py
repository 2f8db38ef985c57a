"""Quality against the number of evaluations of the network: one curve a setting, their names below.

Each setting has one marker and one colour, and a name as short as it can be. Which axes are logarithmic, and
where their ticks stand, follows from the values and the numbers of evaluations.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from flowprior.errors import InputError, OptionError
from flowprior.pictures.sheet import DPI, clipped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

WIDTH, HEIGHT, LINE = 4.8, 3.2, 0.2
"""Inches of the figure without its legend, and of a line of that."""
LONGEST_TITLE = 60
BETTER = {"lower": "lower is better", "higher": "higher is better", "": ""}
Values = Mapping[float, float | Sequence[float]]
"""Number of evaluations -> the value, or those of several seeds."""
WIDE_RANGE = 4
"""Distances that span more than this factor have a logarithmic axis."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito (2008), for the colour-blind, too; their yellow is too light for lines on white."""
LONGEST_NAME = 60
"""Letters of a name that a legend below a chart has room for."""
MARKERS = "os^DvPX*<>ph"
_SPEC = re.compile(r"([\w.-]+):\w+=\S*[^\s,]")
"""The pattern of a component with options: its name and these."""


def quality(
    settings: Mapping[str, Values],
    metric: str = "value",
    *,
    better: str = "lower",
    real_data: float | None = None,
    title: str = "",
) -> Figure:
    """Return quality against NFE, a curve with a marker and a colour of its own for each setting.

    Numbers of evaluations stand a doubling apart, and 0, the prior alone, before the first of them. Values of
    several seeds are drawn as their mean, with a bar of one standard deviation. The axis of values is
    logarithmic for distances that span a wide range, never for what is better higher, such as an accuracy.

    Args:
        settings: name of a setting -> its values; options that all settings share are left out of the names.
        metric: the name of the values, such as ``"W2²"``, with their unit where they have one.
        better: ``"lower"``, ``"higher"`` or ``""``.
        real_data: the same metric of as many real data, as a dotted line.
        title: of the picture.

    Raises:
        InputError: no settings, or one without values.
        OptionError: another word for what is better.
    """
    from matplotlib.figure import Figure

    if better not in BETTER:
        raise OptionError(f"quality: better={better!r} is not possible; choose 'lower', 'higher' or ''")
    labels = legible_names(list(settings))
    curves = {labels[name]: _curve(name, own) for name, own in settings.items()}
    if not curves:
        raise InputError("quality: expected values of one setting or more, got none")
    size = (WIDTH, HEIGHT + LINE * (len(curves) + (real_data is not None)) + 0.25 * bool(title))
    figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.subplots()
    draw_curves(axes, curves, better=better, level=real_data)
    axes.set_xlabel(evaluations_label(any(0 in own for own in settings.values())))
    axes.set_ylabel(f"{metric} ({BETTER[better]})" if better else metric, parse_math=False)
    name_below(axes)
    if title:
        figure.suptitle(clipped(title, LONGEST_TITLE), fontsize=11, parse_math=False)
    return figure


class Curve(NamedTuple):
    """Values of one setting.

    Attributes:
        places: numbers of evaluations or of training steps, ascending.
        means: the value at each.
        deviations: lengths of the bars at each; 0 for none.
    """

    places: Sequence[float]
    means: Sequence[float]
    deviations: Sequence[float]


def draw_curves(
    axes: Axes,
    curves: Mapping[str, Curve],
    *,
    better: str = "lower",
    styles: Mapping[str, Mapping[str, Any]] | None = None,
    level: float | None = None,
    level_name: str = "real data",
    doubling: bool = True,
) -> None:
    """Draw curves without their names, and set the scales of both axes.

    Args:
        axes: what to draw into.
        curves: by setting.
        better: ``"lower"`` for distances, which alone may have a logarithmic axis, ``"higher"`` or ``""``.
        styles: setting -> what ``errorbar`` takes, such as ``{"label": "ours", "color": "C0"}``.
        level: drawn as a dotted line, such as the real-data score.
        level_name: what the dotted line is called.
        doubling: space the places by powers of two; 0 stands one doubling before the first of the others.
    """
    from matplotlib.ticker import MaxNLocator

    places = sorted({float(place) for curve in curves.values() for place in curve.places})
    for number, (name, curve) in enumerate(curves.items()):
        drawn: dict[str, Any] = (
            {"label": name, "ms": 4.5, "capsize": 3, "lw": 1.6}
            | look(number)
            | dict((styles or {}).get(name, {}))
        )
        axes.errorbar(curve.places, curve.means, curve.deviations, **drawn)
    levels = [] if level is None else [level]
    for height in levels:
        axes.axhline(height, color="0.5", ls=":", lw=1, label=level_name, zorder=1)
    _set_value_scale(axes, [*(mean for curve in curves.values() for mean in curve.means), *levels], better)
    if doubling:
        _set_evaluations_scale(axes, places)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def named_lines(axes: Axes) -> dict[str, Line2D]:
    """Return name -> line of each curve, without its bars; the level comes last."""
    from matplotlib.lines import Line2D

    pairs = zip(*axes.get_legend_handles_labels(), strict=True)
    ordered: list[Any] = sorted(pairs, key=lambda pair: isinstance(pair[0], Line2D))
    return {name: getattr(handle, "lines", [handle])[0] for handle, name in ordered}


def name_below(axes: Axes) -> None:
    """Write marker and name of each line below the axes, one a line, where long names have room."""
    lines, figure = named_lines(axes), axes.figure
    legend = figure.legend(
        list(lines.values()),
        list(lines),
        loc="outside lower left",
        frameon=False,
        borderpad=0,
        labelspacing=0.25,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def look(number: int) -> dict[str, Any]:
    """Return colour and marker of the setting of this number: no two of twelve have one marker."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def legible_names(names: Sequence[str]) -> dict[str, str]:
    """Return name -> the same without options of components and not too long, where that is unique.

    ``gmm:covariance=lowrank,rank=64 + ot`` is ``gmm + ot`` where it alone would be called so. Names without
    options stay as they are.
    """
    short = {name: clipped(_SPEC.sub(r"\1", name), LONGEST_NAME) for name in names}
    counts = Counter(short.values())
    return {name: own if counts[own] == 1 else name for name, own in short.items()}


def evaluations_label(with_prior: bool) -> str:
    """Return the name of the axis of evaluations, with or without 0 on it."""
    return "NFE (0: the prior alone)" if with_prior else "NFE, evaluations of the network"


def _curve(name: str, values: Values) -> Curve:
    """Return means and deviations over seeds, ascending in the number of evaluations."""
    if not values:
        raise InputError(
            f"quality: expected values of '{name}' at one number of evaluations or more, got none"
        )
    places = sorted(values)
    found = [np.atleast_1d(np.asarray(values[place], dtype=float)).tolist() for place in places]
    deviations = [statistics.stdev(own) if len(own) > 1 else 0.0 for own in found]
    return Curve(places, [statistics.fmean(own) for own in found], deviations)


def _set_value_scale(axes: Axes, values: Sequence[float], better: str) -> None:
    """Set a logarithmic axis for distances that span a wide range, else a linear one; plain numbers on both.

    Distances are what is better lower, and 0 at best. Shares, such as an accuracy, and whatever else is
    better higher have a linear axis: of them a reader compares differences, not factors.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    if better == "lower" and values and min(values) > 0 and max(values) > WIDE_RANGE * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(
        lambda value, _: f"{value / 1000:g}k" if abs(value) >= 1e4 else f"{value:.4g}"
    )


def _set_evaluations_scale(axes: Axes, places: Sequence[float]) -> None:
    """Set powers of two a step apart; 0 stands as far before the least of the others as its half would."""
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
