"""Forecasts as fans: the bands in which most members lie, hour by hour, beside what came true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowprior.errors import InputError, OptionError
from flowprior.pictures.sheet import DPI, clipped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 3.3, 2.3
"""Inches of a panel."""
COLOUR = "#0072B2"
LONGEST_NAME = 34


def fans(
    members: Mapping[str, Tensor],
    truth: Mapping[str, Tensor] | None = None,
    before: Mapping[str, Tensor] | None = None,
    *,
    windows: Sequence[str] | None = None,
    levels: Sequence[float] = (0.5, 0.9),
    unit: str = "hours",
    title: str = "",
) -> Figure:
    """Quantile bands of forecasts over time, one row a quantity and one column a window.

    The band of level p lies between the quantiles (1 − p)/2 and (1 + p)/2 of the members of each hour; the
    line in the middle is their median.

    Args:
        members: forecasts ``[N, M, T]`` of N windows by M members, T hours ahead, by the name of the
            quantity with its unit, such as ``"temperature, °F"``.
        truth: what came true ``[N, T]``, by the same names.
        before: what was known ``[N, K]``, by the same names; the last of them is now.
        windows: names of the windows.
        levels: shares of the members in a band.
        unit: of the steps of time, in the plural.
        title: of the picture.

    Raises:
        InputError: shapes that do not fit each other.
        OptionError: a level that is no share between 0 and 1.
    """
    from matplotlib.figure import Figure

    for level in levels:
        if not 0 < level < 1:
            raise OptionError(f"fans: level {level} is not possible; choose shares between 0 and 1, as 0.9")
    if not members or not min(part.numel() for part in members.values()):
        raise InputError("fans: expected forecasts [N, M, T] of one quantity or more, got none")
    count = len(next(iter(members.values())))
    size = (WIDTH * count + 0.6, HEIGHT * len(members) + 0.5 + 0.3 * bool(title))
    figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout="constrained")
    panels = figure.subplots(len(members), count, sharex=True, sharey="row", squeeze=False)
    for line, (name, drawn) in zip(panels, members.items(), strict=True):
        known = {"truth": (truth or {}).get(name), "before": (before or {}).get(name)}
        _check(name, drawn, count, **known)
        for place, axes in enumerate(line):
            _bands(axes, drawn[place], levels)
            _measured(axes, *(None if part is None else part[place] for part in known.values()))
        line[0].set_ylabel(clipped(name, LONGEST_NAME), parse_math=False)
    for axes, name in zip(panels[0], windows or [], strict=False):
        axes.set_title(clipped(name, LONGEST_NAME), fontsize=10, parse_math=False)
    for axes in panels[-1]:
        axes.set_xlabel(f"{unit} from now")
    _finish(figure, panels[0][0], title)
    return figure


def _bands(axes: Axes, members: Tensor, levels: Sequence[float]) -> None:
    """Bands of members ``[M, T]``, the widest first, each darker than the one before, and the median."""
    values = members.detach().double().cpu()
    ahead = torch.arange(1, values.shape[1] + 1).numpy()
    widest_first = sorted(levels, reverse=True)
    for number, level in enumerate(widest_first, 1):
        ends = values.quantile(values.new_tensor([(1 - level) / 2, (1 + level) / 2]), 0).numpy()
        alpha = 0.2 + 0.3 * (number - 1) / len(widest_first)
        label = f"{level * 100:.3g} % of members"
        axes.fill_between(ahead, *ends, color=COLOUR, alpha=alpha, linewidth=0, label=label)
    axes.plot(ahead, values.quantile(0.5, 0).numpy(), color=COLOUR, linewidth=1.2, label="median")
    axes.spines[["top", "right"]].set_visible(False)


def _measured(axes: Axes, truth: Tensor | None, before: Tensor | None) -> None:
    """What was known until now, at 0, and what came true after, as one line."""
    past, future = (torch.empty(0) if part is None else part.double().cpu() for part in (before, truth))
    hours = torch.arange(1 - len(past), 1 + len(future))
    if len(hours):
        axes.plot(hours.numpy(), torch.cat([past, future]).numpy(), color="black", lw=1, label="measured")
    if len(past):
        axes.axvline(0, color="0.6", linewidth=0.6)


def _finish(figure: Figure, first: Axes, title: str) -> None:
    """One legend below all panels, and the title above them."""
    handles, labels = first.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    if title:
        figure.suptitle(title, fontsize=11, parse_math=False)


def _check(name: str, members: Tensor, count: int, **known: Tensor | None) -> None:
    """Refuse shapes that do not fit the first quantity's windows.

    Raises:
        InputError: which quantity does not fit.
    """
    if members.dim() != 3 or len(members) != count:
        got = list(members.shape)
        raise InputError(f"fans: expected members [{count}, M, T] of '{name}', got {got}")
    ahead = {"truth": members.shape[2]}
    for part, values in known.items():
        if values is None:
            continue
        steps = ahead.get(part)
        if values.dim() != 2 or len(values) != count or steps not in (None, values.shape[1]):
            got = list(values.shape)
            raise InputError(f"fans: expected {part} [{count}, {steps or 'K'}] of '{name}', got {got}")
