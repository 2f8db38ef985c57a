"""Log-densities over the plane, beside each other and on one scale of colours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowprior.errors import InputError, OptionError
from flowprior.pictures.points import add_scale, check_points, coordinates, plane_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

LogDensity = Callable[[Tensor], Tensor]
"""log p of points ``[B, 2]`` -> ``[B]``, in nats."""
DEPTH = 10.0
"""Nats below the highest log-density at which colours end."""


def densities(
    panels: Mapping[str, LogDensity],
    around: Tensor,
    *,
    side: int = 100,
    depth: float = DEPTH,
    show_points: bool = False,
    title: str = "",
) -> Figure:
    """Log-densities over one part of the plane, such as those of a prior and of the flow that starts there.

    Args:
        panels: functions of points ``[B, 2]`` that give log p ``[B]`` in nats, by the name that stands above
            them, such as ``{"prior": lambda x: prior.log_prob(x, c.expand(len(x)))}``.
        around: points ``[N, 2]``, such as the data: the square around them is seen, in their dtype.
        side: points of the grid along each axis; side² values of each density are computed.
        depth: colours end so many nats below the highest value of all panels.
        show_points: draw ``around`` as dots, too.
        title: of the picture.

    Raises:
        InputError: no points of the plane, or a density that gives another number of values.
        OptionError: a grid of fewer than two points a side, or no depth.
    """
    if side < 2 or not depth > 0:
        raise OptionError(f"densities: expected side >= 2 and depth > 0, got side={side} and depth={depth}")
    check_points(around)
    figure, places = plane_axes(list(panels), title, [around])
    grid = _grid(places[0], side).to(around)
    values = [_values(name, log_prob, grid, side) for name, log_prob in panels.items()]
    finite = torch.cat([value[value.isfinite()] for value in values])
    top = float(finite.max()) if len(finite) else 0.0
    images = [_draw(axes, value, top, depth) for axes, value in zip(places, values, strict=True)]
    for axes in places:
        if show_points:
            axes.scatter(*coordinates(around), s=3, c="white", linewidths=0, alpha=0.5)
    add_scale(figure, places[-1], images[-1], "log-density, nats")
    return figure


def _grid(axes: Axes, side: int) -> Tensor:
    """Points ``[side², 2]``, row by row from below, in the middle of as many equal squares."""
    low, high = axes.viewLim.min, axes.viewLim.max
    middles = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    x, y = (float(a) + middles * float(b - a) for a, b in zip(low, high, strict=True))
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1).view(-1, 2)


def _values(name: str, log_prob: LogDensity, grid: Tensor, side: int) -> Tensor:
    """log p on the grid, ``[side, side]``."""
    found = log_prob(grid).detach().double().cpu()
    if found.shape != (len(grid),):
        raise InputError(
            f"densities: expected log p of {len(grid)} points [{len(grid)}] from '{name}', "
            f"got {list(found.shape)}; give the condition once for each point"
        )
    return found.view(side, side)


def _draw(axes: Axes, values: Tensor, top: float, depth: float) -> AxesImage:
    """One panel; what lies below the scale has its lowest colour."""
    low, high = axes.viewLim.min, axes.viewLim.max
    return axes.imshow(
        values.nan_to_num(nan=float("-inf")).clamp(min=top - depth).numpy(),
        extent=(float(low[0]), float(high[0]), float(low[1]), float(high[1])),
        origin="lower",
        interpolation="nearest",
        aspect="auto",
        cmap="viridis",
        vmin=top - depth,
        vmax=top,
    )
