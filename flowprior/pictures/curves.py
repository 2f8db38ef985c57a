"""Curves of quality, one a setting, with bars of one deviation and their names below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from flowprior.pictures.looks import look as look_of
from flowprior.pictures.scales import (
    beside_each_other,
    set_evaluations_scale,
    set_value_scale,
    set_whole_scale,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


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
    places = sorted({float(place) for curve in curves.values() for place in curve.places})
    least = min(filter(None, places), default=1)
    for number, (name, curve) in enumerate(curves.items()):
        drawn: dict[str, Any] = (
            {"label": name, "ms": 4.5, "capsize": 3, "lw": 1.6}
            | look_of(number)
            | dict((styles or {}).get(name, {}))
        )
        at = np.asarray(curve.places, dtype=float)
        if doubling:
            at = beside_each_other(at, number, len(curves), least)
        axes.errorbar(at, curve.means, curve.deviations, **drawn)
    levels = [] if level is None else [level]
    for height in levels:
        axes.axhline(height, color="0.5", ls=":", lw=1, label=level_name, zorder=1)
    set_value_scale(axes, [*(mean for curve in curves.values() for mean in curve.means), *levels], better)
    if doubling:
        set_evaluations_scale(axes, places)
    else:
        set_whole_scale(axes)
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def named_lines(axes: Axes) -> dict[str, Line2D]:
    """Name -> line of each curve, without its bars; the level comes last."""
    from matplotlib.lines import Line2D

    pairs = zip(*axes.get_legend_handles_labels(), strict=True)
    ordered: list[Any] = sorted(pairs, key=lambda pair: isinstance(pair[0], Line2D))
    return {name: getattr(handle, "lines", [handle])[0] for handle, name in ordered}


def name_below(axes: Axes) -> None:
    """Marker and name of each line below the axes, one a line, where names of any length have room."""
    lines, figure = named_lines(axes), axes.figure
    look: Any = {"loc": "outside lower left", "frameon": False, "borderpad": 0, "labelspacing": 0.25}
    legend = figure.legend(list(lines.values()), list(lines), **look)
    for text in legend.get_texts():
        text.set_parse_math(False)
