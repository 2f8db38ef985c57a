"""Points of the plane, coloured by their condition, with axes and a legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.pictures.sheet import DPI, class_name, clipped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE, LEFT, BOTTOM, BETWEEN, NAME, LEGEND = 5.0, 0.7, 0.4, 0.4, 0.3, 1.5
"""Inches of a panel, of what is around it, and of the legend at the right."""
LONGEST_NAME, LONGEST_TITLE = 18, 60
TIGHT: dict[str, Any] = {"frameon": False, "borderpad": 0, "borderaxespad": 0, "handletextpad": 0.2}
MOST_COLOURS = 10
"""Classes that a legend tells apart; more of them are coloured along a scale, as embeddings are."""
DOT = 9
MARGIN = 0.08

Panel = tuple[Tensor, Tensor | None]


def points(
    x: Tensor,
    cond: Tensor | None = None,
    *,
    real: Tensor | None = None,
    names: Sequence[str] | None = None,
    title: str = "",
    frame: Tensor | None = None,
) -> Figure:
    """Points coloured by their condition.

    Args:
        x: points ``[N, 2]``.
        cond: labels ``[N]``, or embeddings ``[N, E]`` whose first number counts.
        real: real points ``[M, 2]``, in grey underneath.
        names: of the classes; by default their numbers.
        title: of the picture, such as the setting that the points come from.
        frame: points ``[K, 2]`` that decide which part of the plane is seen; by default all that are drawn.

    Raises:
        InputError: no points of the plane.
    """
    return point_panels({"": (x, cond)}, real=real, names=names, title=title, frame=frame)


def point_panels(
    panels: Mapping[str, Panel],
    *,
    real: Tensor | None = None,
    names: Sequence[str] | None = None,
    title: str = "",
    frame: Tensor | None = None,
) -> Figure:
    """Several clouds of points beside each other, over one part of the plane and with one legend.

    Args:
        panels: points ``[N, 2]`` and their condition, by the name that stands above them.
        real: as in :func:`points`, under each.
        names: as in :func:`points`.
        title: of the picture.
        frame: as in :func:`points`.

    Raises:
        InputError: no points of the plane.
    """
    clouds = [x for x, _ in panels.values()] + ([] if real is None else [real])
    seen = clouds if frame is None else [frame]
    for cloud in (*clouds, *seen):
        if cloud.dim() != 2 or cloud.shape[1] != 2:
            raise InputError(f"picture: expected points [N, 2], got {list(cloud.shape)}")
    figure, places = _new_figure(list(panels), title)
    for axes, (x, cond) in zip(places, panels.values(), strict=True):
        if real is not None:
            axes.scatter(*_coordinates(real), c="0.8", s=DOT, linewidths=0, label="real data")
        _scatter(axes, x, cond, names)
        _set_limits(axes, torch.cat([_finite(cloud) for cloud in seen]))
    _add_legend(figure, places)
    return figure


def _new_figure(names: Sequence[str], title: str) -> tuple[Figure, list[Axes]]:
    """Square axes of one size beside each other, with room for a legend at the right."""
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
        name = clipped(name, LONGEST_TITLE)
        axes.set_title(name, fontsize=10, color="black", parse_math=False)
        axes.ticklabel_format(style="sci", scilimits=(-2, 3), useOffset=False)
        axes.tick_params(labelleft=place == 0)
        places.append(axes)
    return figure, places


def _scatter(axes: Axes, x: Tensor, cond: Tensor | None, names: Sequence[str] | None) -> None:
    """One cloud: a colour a class, or colours along a scale."""
    dot: dict[str, Any] = {"s": DOT, "linewidths": 0}
    labels = [] if cond is None or cond.is_floating_point() else cond.unique().tolist()
    if cond is None:
        axes.scatter(*_coordinates(x), color="C0", label="samples", **dot)
    elif 0 < len(labels) <= MOST_COLOURS:
        for label in labels:
            colour = f"C{label % MOST_COLOURS}"
            own, name = x[(cond == label).to(x.device)], class_name(label, names)
            axes.scatter(*_coordinates(own), color=colour, label=name, **dot)
    else:
        scale = (cond if cond.dim() == 1 else cond[:, 0]).detach().cpu().numpy()
        axes.scatter(*_coordinates(x), c=scale, cmap="viridis", **dot)


def _add_legend(figure: Figure, places: Sequence[Axes]) -> None:
    """One legend for all panels, and a scale where colours are numbers."""
    shown = {
        str(artist.get_label()): artist
        for axes in places
        for artist in axes.collections
        if not str(artist.get_label()).startswith("_")
    }
    right, top = places[-1].get_position().x1, places[-1].get_position().y1
    inch = 1 / figure.get_figwidth()
    if len(shown) > 1 or "real data" in shown:
        names = [clipped(name, LONGEST_NAME) for name in shown]
        place = (right + 0.1 * inch, top)
        legend = figure.legend(
            shown.values(), names, loc="upper left", bbox_to_anchor=place, markerscale=2, **TIGHT
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    coloured = [artist for axes in places for artist in axes.collections if artist.get_array() is not None]
    if coloured:
        bottom = places[-1].get_position().y0
        scale = figure.add_axes((right + 0.2 * inch, bottom, 0.15 * inch, 0.7 * (top - bottom)))
        figure.colorbar(coloured[0], cax=scale, label="condition")


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


def _coordinates(cloud: Tensor) -> Any:
    return cloud.detach().double().cpu().T.numpy()
