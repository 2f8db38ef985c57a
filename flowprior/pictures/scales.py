"""Axes of quality against the number of evaluations: which are logarithmic, and where their ticks stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE_RANGE = 4
"""Distances that span more than this factor have a logarithmic axis."""
MANY_TICKS = 500
"""Those that span more than this factor have a tick a decade."""


def set_value_scale(axes: Axes, values: Sequence[float], better: str = "lower") -> None:
    """A logarithmic axis for distances that span a wide range, else a linear one; plain numbers on both.

    Distances are what is better lower, and 0 at best. Shares, such as an accuracy, and whatever else is
    better higher have a linear axis: of them a reader compares differences, not factors.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    if better == "lower" and values and min(values) > 0 and max(values) > WIDE_RANGE * min(values):
        axes.set_yscale("log")
        fine = max(values) < MANY_TICKS * min(values)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if fine else (1,), numticks=12))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="y", which="minor", length=0)
    axes.yaxis.set_major_formatter(
        lambda value, _: f"{value / 1000:g}k" if abs(value) >= 1e4 else f"{value:.4g}"
    )


def set_evaluations_scale(axes: Axes, places: Sequence[float]) -> None:
    """Powers of two are a step apart; 0 stands as far before the least of the others as its half would."""
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


def set_whole_scale(axes: Axes) -> None:
    """A linear axis with ticks at a few whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def beside_each_other(places: Any, number: int, count: int, least: float) -> Any:
    """Places of one of ``count`` curves, moved by a share of a doubling so that bars stand beside each other.

    Args:
        places: numbers of evaluations, an array.
        number: of the curve.
        count: of curves.
        least: of the positive places of all curves.
    """
    import numpy as np

    shift = 0.14 * (number / count - 0.5)
    return np.where(places > 0, places * 2**shift, shift * least)
