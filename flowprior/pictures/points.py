"""Points of the plane, coloured by their condition, with axes and a legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from flowprior.pictures.plane import add_legend, check_points, coordinates, plane_axes
from flowprior.pictures.sheet import class_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

MOST_COLOURS = 10
"""Classes that a legend tells apart; more of them are coloured along a scale, as embeddings are."""
DOT = 9

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
    clouds = [x for x, _ in panels.values()]
    figure, places = panels_over_real(list(panels), clouds, real=real, title=title, frame=frame)
    for axes, (x, cond) in zip(places, panels.values(), strict=True):
        scatter(axes, x, cond, names)
    add_legend(figure, places)
    return figure


def panels_over_real(
    headings: Sequence[str],
    clouds: Sequence[Tensor],
    *,
    real: Tensor | None,
    title: str,
    frame: Tensor | None,
) -> tuple[Figure, list[Axes]]:
    """Panels over the part of the plane that ``frame``, else all points, take up, with real points in each.

    Raises:
        InputError: no points of the plane.
    """
    drawn = [*clouds] if real is None else [*clouds, real]
    check_points(*drawn, *([] if frame is None else [frame]))
    figure, places = plane_axes(headings, title, drawn if frame is None else [frame])
    for axes in places:
        scatter_real(axes, real)
    return figure, places


def scatter_real(axes: Axes, real: Tensor | None) -> None:
    """Real points ``[M, 2]`` in grey, where there are any."""
    if real is not None:
        axes.scatter(*coordinates(real), c="0.8", s=DOT, linewidths=0, label="real data")


def scatter(
    axes: Axes, x: Tensor, cond: Tensor | None, names: Sequence[str] | None
) -> list[tuple[PathCollection, Tensor | slice]]:
    """One cloud: a colour a class, or colours along a scale. What was drawn, and of which rows of ``x``."""
    dot: dict[str, Any] = {"s": DOT, "linewidths": 0}
    if cond is None:
        return [(axes.scatter(*coordinates(x), color="C0", label="samples", **dot), slice(None))]
    drawn: list[tuple[PathCollection, Tensor | slice]] = []
    for label, rows in rows_of_classes(cond):
        own, name = x[rows.to(x.device)], class_name(label, names)
        drawn.append((axes.scatter(*coordinates(own), color=class_colour(label), label=name, **dot), rows))
    if drawn:
        return drawn
    scale = (cond if cond.dim() == 1 else cond[:, 0]).detach().cpu().numpy()
    return [(axes.scatter(*coordinates(x), c=scale, cmap="viridis", **dot), slice(None))]


def rows_of_classes(cond: Tensor | None) -> list[tuple[int, Tensor]]:
    """Each label and its rows ``[N]`` of True and False; none of embeddings, or where labels are too many."""
    labels = [] if cond is None or cond.is_floating_point() else cond.unique().tolist()
    return [(label, cond == label) for label in labels] if len(labels) <= MOST_COLOURS else []


def class_colour(label: int) -> str:
    """The colour of a class, the same in every picture."""
    return f"C{label % MOST_COLOURS}"
