"""Square axes over one part of the plane, beside each other, with one legend or scale for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.pictures.sheet import DPI, clipped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

SIDE, LEFT, BOTTOM, BETWEEN, NAME, LEGEND = 5.0, 0.7, 0.4, 0.4, 0.3, 1.5
"""Inches of a panel, of what is around it, and of the legend at the right."""
LONGEST_NAME, LONGEST_TITLE = 18, 60
TIGHT: dict[str, Any] = {"frameon": False, "borderpad": 0, "borderaxespad": 0, "handletextpad": 0.2}
MARGIN = 0.08


def check_points(*clouds: Tensor) -> None:
    """Refuse what is no points of the plane.

    Raises:
        InputError: a shape other than ``[N, 2]``.
    """
    for cloud in clouds:
        if cloud.dim() != 2 or cloud.shape[1] != 2:
            raise InputError(f"picture: expected points [N, 2], got {list(cloud.shape)}")


def plane_axes(names: Sequence[str], title: str, seen: Sequence[Tensor]) -> tuple[Figure, list[Axes]]:
    """Axes of one size under their names, with room for a legend at the right.

    Args:
        names: of the panels; may be empty.
        title: of the picture.
        seen: clouds ``[N, 2]`` that decide which part of the plane every panel shows.
    """
    from matplotlib.figure import Figure

    width = LEFT + (SIDE + BETWEEN) * len(names) + LEGEND
    height = BOTTOM + SIDE + NAME * (1 + bool(title))
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    title = clipped(title, LONGEST_TITLE * len(names))
    figure.text(LEFT / width, 1 - 0.1 / height, title, fontsize=11, va="top", color="black", parse_math=False)
    places = []
    for place, name in enumerate(names):
        left = LEFT + (SIDE + BETWEEN) * place
        axes = figure.add_axes((left / width, BOTTOM / height, SIDE / width, SIDE / height))
        axes.set_title(clipped(name, LONGEST_TITLE), fontsize=10, color="black", parse_math=False)
        axes.ticklabel_format(style="sci", scilimits=(-2, 3), useOffset=False)
        axes.tick_params(labelleft=place == 0)
        _set_limits(axes, torch.cat([_finite(cloud) for cloud in seen]))
        places.append(axes)
    return figure, places


def add_legend(figure: Figure, places: Sequence[Axes]) -> None:
    """One legend for what has a name in any panel, and a scale where colours are numbers."""
    shown = {
        str(artist.get_label()): artist
        for axes in places
        for artist in axes.collections
        if not str(artist.get_label()).startswith("_")
    }
    right, top = places[-1].get_position().x1, places[-1].get_position().y1
    if len(shown) > 1 or "real data" in shown:
        names = [clipped(name, LONGEST_NAME) for name in shown]
        place = (right + 0.1 / figure.get_figwidth(), top)
        legend = figure.legend(
            shown.values(), names, loc="upper left", bbox_to_anchor=place, markerscale=2, **TIGHT
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    coloured = [artist for axes in places for artist in axes.collections if artist.get_array() is not None]
    if coloured:
        add_scale(figure, places[-1], coloured[0], "condition")


def add_scale(figure: Figure, last: Axes, coloured: ScalarMappable, name: str) -> None:
    """A named scale of colours at the right of the last panel, beside where a legend would begin."""
    place, inch = last.get_position(), 1 / figure.get_figwidth()
    scale = figure.add_axes((place.x1 + 0.2 * inch, place.y0, 0.15 * inch, 0.7 * place.height))
    figure.colorbar(coloured, cax=scale, label=name)


def coordinates(cloud: Tensor) -> Any:
    """The two coordinates of points ``[N, 2]``, as matplotlib takes them."""
    return cloud.detach().double().cpu().T.numpy()


def _set_limits(axes: Axes, seen: Tensor) -> None:
    """A square around the points that are to be seen."""
    if len(seen) == 0:
        return
    low, high = seen.amin(0), seen.amax(0)
    middle = ((low + high) / 2).tolist()
    reach = (0.5 + MARGIN) * float((high - low).max()) or 1.0
    axes.set_xlim(middle[0] - reach, middle[0] + reach)
    axes.set_ylim(middle[1] - reach, middle[1] + reach)


def _finite(cloud: Tensor) -> Tensor:
    cloud = cloud.detach().double().cpu()
    return cloud[cloud.isfinite().all(1)]
