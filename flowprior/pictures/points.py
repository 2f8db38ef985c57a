"""Points of the plane, coloured by their condition, with axes and a legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowprior.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 5.0
"""Inches of a panel."""
LEGEND = 1.2
DPI = 100
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
    from matplotlib.figure import Figure

    clouds = [x for x, _ in panels.values()] + ([] if real is None else [real])
    seen = clouds if frame is None else [frame]
    for cloud in (*clouds, *seen):
        if cloud.dim() != 2 or cloud.shape[1] != 2:
            raise InputError(f"picture: expected points [N, 2], got {list(cloud.shape)}")
    size = (SIDE * len(panels) + LEGEND, SIDE + 0.3 + 0.3 * bool(title))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained", facecolor="white")
    figure.suptitle(title, fontsize=11, color="black", parse_math=False)
    places = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (name, (x, cond)) in zip(places, panels.items(), strict=True):
        axes.set_title(name, fontsize=10, color="black", parse_math=False)
        if real is not None:
            axes.scatter(*_coordinates(real), c="0.8", s=DOT, linewidths=0, label="real data")
        _scatter(axes, x, cond, names)
        axes.set_aspect("equal")
    _set_limits(places[0], torch.cat([_finite(cloud) for cloud in seen]))
    _add_legend(figure, places)
    return figure


def _scatter(axes: Axes, x: Tensor, cond: Tensor | None, names: Sequence[str] | None) -> None:
    """One cloud: a colour a class, or colours along a scale."""
    dot: dict[str, Any] = {"s": DOT, "linewidths": 0}
    labels = [] if cond is None or cond.is_floating_point() else cond.unique().tolist()
    if cond is None:
        axes.scatter(*_coordinates(x), color="C0", label="samples", **dot)
    elif 0 < len(labels) <= MOST_COLOURS:
        for label in labels:
            name = names[label] if names is not None and 0 <= label < len(names) else str(label)
            colour = f"C{label % MOST_COLOURS}"
            axes.scatter(*_coordinates(x[(cond == label).to(x.device)]), color=colour, label=name, **dot)
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
    if len(shown) > 1 or "real data" in shown:
        legend = figure.legend(shown.values(), shown.keys(), loc="outside right upper", markerscale=2)
        for text in legend.get_texts():
            text.set_parse_math(False)
    scaled = next(
        (artist for axes in places for artist in axes.collections if artist.get_array() is not None), None
    )
    if scaled is not None:
        figure.colorbar(scaled, ax=list(places), label="condition", shrink=0.7)


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
