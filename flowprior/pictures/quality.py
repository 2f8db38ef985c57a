"""Quality against the number of evaluations of the network: one curve a setting."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from flowprior.errors import InputError, OptionError
from flowprior.pictures.curves import Curve, draw_curves, legible_names, name_below
from flowprior.pictures.sheet import DPI, clipped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT, LINE = 4.8, 3.2, 0.2
"""Inches of the figure without its legend, and of a line of that."""
LONGEST_TITLE = 60
BETTER = {"lower": "lower is better", "higher": "higher is better", "": ""}
Values = Mapping[float, float | Sequence[float]]
"""Number of evaluations -> the value, or those of several seeds."""


def quality(
    settings: Mapping[str, Values],
    metric: str = "",
    *,
    better: str = "lower",
    unit: str = "",
    real_data: float | None = None,
    title: str = "",
) -> Figure:
    """Quality against NFE, a curve with a marker and a colour of its own for each setting.

    Numbers of evaluations stand a doubling apart, and 0, the prior alone, before the first of them. Values of
    several seeds are drawn as their mean, with a bar of one standard deviation. The axis of values is
    logarithmic for distances that span a wide range, never for what is better higher, such as an accuracy.

    Args:
        settings: name of a setting -> its values; options that all settings share are left out of the names.
        metric: what the values are, such as ``"W2²"``.
        better: ``"lower"``, ``"higher"`` or ``""``.
        unit: of the values, where they have one, such as ``"bits per dimension"``.
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
    lines = len(curves) + (real_data is not None)
    size = (WIDTH, HEIGHT + LINE * lines + 0.25 * bool(title))
    figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.subplots()
    draw_curves(axes, curves, better=better, level=real_data)
    axes.set_xlabel(evaluations_label(any(0 in own for own in settings.values())))
    axes.set_ylabel(_value_label(metric, unit, better), parse_math=False)
    name_below(axes)
    if title:
        figure.suptitle(clipped(title, LONGEST_TITLE), fontsize=11, parse_math=False)
    return figure


def evaluations_label(with_prior: bool) -> str:
    """What the axis of evaluations is called, with or without 0 on it."""
    return "NFE (0: the prior alone)" if with_prior else "NFE, evaluations of the network"


def _curve(name: str, values: Values) -> Curve:
    """Means and deviations over seeds, ascending in the number of evaluations."""
    if not values:
        raise InputError(
            f"quality: expected values of '{name}' at one number of evaluations or more, got none"
        )
    places = sorted(values)
    found = [_seeds(values[place]) for place in places]
    deviations = [statistics.stdev(own) if len(own) > 1 else 0.0 for own in found]
    return Curve(places, [statistics.fmean(own) for own in found], deviations)


def _seeds(value: float | Sequence[float]) -> list[float]:
    return np.atleast_1d(np.asarray(value, dtype=float)).tolist()


def _value_label(metric: str, unit: str, better: str) -> str:
    """The metric with its unit, and which side is better."""
    about = ", ".join(filter(None, (metric or "value", unit)))
    return f"{about} ({BETTER[better]})" if better else about
