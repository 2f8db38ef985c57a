"""The fan charts of forecasts: quantile bands of the members over time, beside the true values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.pictures.sheet import DPI, clipped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 3.3, 2.3
"""The width and height of a panel, in inches."""
COLOUR = "#0072B2"
BANDS = {0.9: 0.2, 0.5: 0.35}
"""The opacity of each band, by the share of members inside, the widest band first."""
LONGEST_NAME = 34
"""The largest number of characters of a title."""


def fans(
    members: Mapping[str, Tensor],
    truth: Mapping[str, Tensor] | None = None,
    before: Mapping[str, Tensor] | None = None,
    *,
    windows: Sequence[str] = (),
) -> Figure:
    """Quantile bands of forecasts over time, one row a quantity and one column a window.

    The band of level p, 50 or 90 %, lies between the quantiles (1 − p)/2 and (1 + p)/2 of the members of each
    hour; the line in the middle is their median.

    Args:
        members: forecasts ``[N, M, T]`` of N windows by M members, T hours ahead, by the name of the
            quantity with its unit, such as ``"temperature, °F"``.
        truth: the true future ``[N, T]``, by the same names.
        before: the known past ``[N, K]``, by the same names; its last value is at time 0.
        windows: names of the windows.

    Raises:
        InputError: shapes that do not fit each other.
    """
    from matplotlib.figure import Figure

    if not members or not min(part.numel() for part in members.values()):
        raise InputError("fans: expected forecasts [N, M, T] of one quantity or more, got none")
    count = len(next(iter(members.values())))
    size = (WIDTH * count + 0.6, HEIGHT * len(members) + 0.5)
    figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout="constrained")
    panels = figure.subplots(len(members), count, sharex=True, sharey="row", squeeze=False)
    for line, (name, drawn) in zip(panels, members.items(), strict=True):
        ahead = _checked(f"members [{count}, M, T] of '{name}'", drawn, (count, None, None)).shape[2]
        future = (truth or {}).get(name, torch.empty(count, 0))
        past = (before or {}).get(name, torch.empty(count, 0))
        _checked(f"truth [{count}, {ahead}] of '{name}'", future, (count, ahead if future.numel() else None))
        _checked(f"before [{count}, K] of '{name}'", past, (count, None))
        for place, axes in enumerate(line):
            _bands(axes, drawn[place])
            _measured(axes, past[place], future[place])
        line[0].set_ylabel(clipped(name, LONGEST_NAME), parse_math=False)
    for axes, name in zip(panels[0], windows, strict=False):
        axes.set_title(clipped(name, LONGEST_NAME), fontsize=10, parse_math=False)
    for axes in panels[-1]:
        axes.set_xlabel("hours from now")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    return figure


def _bands(axes: Axes, members: Tensor) -> None:
    """Draw the bands of members ``[M, T]``, each darker than the one before, and the median."""
    values = members.detach().double().cpu()
    ahead = torch.arange(1, values.shape[1] + 1).numpy()
    for level, alpha in BANDS.items():
        ends = values.quantile(values.new_tensor([(1 - level) / 2, (1 + level) / 2]), 0).numpy()
        label = f"{100 * level:.0f} % of members"
        axes.fill_between(ahead, *ends, color=COLOUR, alpha=alpha, linewidth=0, label=label)
    axes.plot(ahead, values.quantile(0.5, 0).numpy(), color=COLOUR, linewidth=1.2, label="median")
    axes.spines[["top", "right"]].set_visible(False)


def _measured(axes: Axes, past: Tensor, future: Tensor) -> None:
    """Draw the known past, until time 0, and the true future as one line."""
    hours = torch.arange(1 - len(past), 1 + len(future))
    if len(hours):
        measured = torch.cat([past.double().cpu(), future.double().cpu()]).numpy()
        axes.plot(hours.numpy(), measured, color="black", lw=1, label="measured")
    if len(past):
        axes.axvline(0, color="0.6", linewidth=0.6)


def _checked(what: str, values: Tensor, shape: Sequence[int | None]) -> Tensor:
    """Check the shape of values, in which None stands for any length, and return them.

    Raises:
        InputError: they have another.
    """
    known = zip(values.shape, shape, strict=False)
    if values.dim() != len(shape) or any(expected not in (None, found) for found, expected in known):
        raise InputError(f"fans: expected {what}, got {list(values.shape)}")
    return values
