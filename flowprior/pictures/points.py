"""Points of the plane, coloured by their condition, and log-densities: square axes beside each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowprior.errors import InputError, OptionError
from flowprior.pictures.sheet import DPI, class_name, clipped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

MOST_COLOURS = 10
"""The most classes in a legend; more of them are coloured along a scale, as embeddings are."""
DOT = 9
Panel = tuple[Tensor, Tensor | None]
"""Images ``[N, C, H, W]`` or points ``[N, 2]``, and their condition ``[N, …]`` or None."""
SIDE, HEADING, LEGEND = 5.4, 0.2, 1.5
"""The sides of a panel with its numbers, the height of a heading, and the width of the legend, in inches."""
LONGEST_NAME, LONGEST_TITLE = 18, 60
MARGIN = 0.08
LogDensity = Callable[[Tensor], Tensor]
"""log p of points ``[B, 2]`` -> ``[B]``, in nats."""
DEPTH = 10.0
"""Nats below the highest log-density at which colours end."""


def points(
    x: Tensor,
    cond: Tensor | None = None,
    *,
    real: Tensor | None = None,
    names: Sequence[str] | None = None,
    title: str = "",
    frame: Tensor | None = None,
) -> Figure:
    """Return points coloured by their condition.

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
    """Return several clouds of points beside each other, over one part of the plane and with one legend.

    Args:
        panels: points ``[N, 2]`` and their condition, by the name that stands above them.
        real, names, title, frame: as in :func:`points`.

    Raises:
        InputError: no points of the plane.
    """
    clouds = [x for x, _ in panels.values()]
    figure, places = plane_axes(list(panels), clouds, real=real, title=title, frame=frame)
    for axes, (x, cond) in zip(places, panels.values(), strict=True):
        scatter(axes, x, cond, names)
    add_legend(figure, places)
    return figure


def plane_axes(
    headings: Sequence[str],
    clouds: Sequence[Tensor],
    *,
    real: Tensor | None = None,
    title: str = "",
    frame: Tensor | None = None,
) -> tuple[Figure, list[Axes]]:
    """Return square panels of the part of the plane that ``frame``, or all points, take up.

    Args:
        headings: the names of the panels; may be empty.
        clouds: points ``[N, 2]`` that will be drawn.
        real, title, frame: as in :func:`points`.

    Raises:
        InputError: no points of the plane.
    """
    from matplotlib.figure import Figure

    drawn = [*clouds] if real is None else [*clouds, real]
    check_points(*drawn, *([] if frame is None else [frame]))
    size = (SIDE * len(headings) + LEGEND, SIDE + HEADING * (1 + bool(title)))
    figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout="compressed")
    if title:
        shown = clipped(title, LONGEST_TITLE * len(headings))
        figure.suptitle(shown, fontsize=11, color="black", parse_math=False)
    shared = {"sharex": True, "sharey": True, "subplot_kw": {"box_aspect": 1}}
    places = list(figure.subplots(1, len(headings), squeeze=False, **shared)[0])
    for axes, heading in zip(places, headings, strict=True):
        axes.set_title(clipped(heading, LONGEST_TITLE), fontsize=10, color="black", parse_math=False)
        if real is not None:
            axes.scatter(*coordinates(real), c="0.8", s=DOT, linewidths=0, label="real data")
    places[0].ticklabel_format(style="sci", scilimits=(-2, 3), useOffset=False)
    seen = drawn if frame is None else [frame]
    _set_limits(places[0], torch.cat([cloud.detach().double().cpu() for cloud in seen]))
    return figure, places


def add_legend(figure: Figure, places: Sequence[Axes]) -> None:
    """Add one legend for what has a name in any panel, and a scale where colours are numbers."""
    found = [zip(*reversed(axes.get_legend_handles_labels()), strict=True) for axes in places]
    shown = {name: artist for pairs in found for name, artist in pairs}
    if len(shown) > 1 or "real data" in shown:
        names = [clipped(name, LONGEST_NAME) for name in shown]
        legend = figure.legend(
            shown.values(), names, loc="outside right upper", markerscale=2, frameon=False, handletextpad=0.2
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    coloured = [artist for axes in places for artist in axes.collections if artist.get_array() is not None]
    if coloured:
        add_scale(figure, places, coloured[0], "condition")


def add_scale(figure: Figure, places: Sequence[Axes], coloured: ScalarMappable, name: str) -> None:
    """Add a named scale of colours at the right of the panels."""
    figure.colorbar(coloured, ax=list(places), label=name, shrink=0.7, fraction=0.05, pad=0.02)


def scatter(
    axes: Axes, x: Tensor, cond: Tensor | None, names: Sequence[str] | None
) -> list[tuple[PathCollection, Tensor | slice]]:
    """Draw a cloud, a colour a class or colours along a scale; return what was drawn, and its rows of x."""
    dot: dict[str, Any] = {"s": DOT, "linewidths": 0}
    if cond is None:
        return [(axes.scatter(*coordinates(x), color="C0", label="samples", **dot), slice(None))]
    if classes := rows_of_classes(cond):
        looks = [{"color": class_colour(label), "label": class_name(label, names)} for label, _ in classes]
        parts = [(x[rows.to(x.device)], rows) for _, rows in classes]
        return [
            (axes.scatter(*coordinates(own), **look, **dot), rows)
            for (own, rows), look in zip(parts, looks, strict=True)
        ]
    scale = (cond if cond.dim() == 1 else cond[:, 0]).detach().cpu().numpy()
    return [(axes.scatter(*coordinates(x), c=scale, cmap="viridis", **dot), slice(None))]


def rows_of_classes(cond: Tensor | None) -> list[tuple[int, Tensor]]:
    """Return each label and its mask ``[N]``; none of embeddings, or where labels are too many."""
    labels = [] if cond is None or cond.is_floating_point() else cond.unique().tolist()
    return [(label, cond == label) for label in labels] if len(labels) <= MOST_COLOURS else []


def class_colour(label: int) -> str:
    """Return the colour of a class, the same in every picture."""
    return f"C{label % MOST_COLOURS}"


def check_points(*clouds: Tensor) -> None:
    """Refuse what is no points of the plane.

    Raises:
        InputError: a shape other than ``[N, 2]``.
    """
    for cloud in clouds:
        if cloud.dim() != 2 or cloud.shape[1] != 2:
            raise InputError(f"picture: expected points [N, 2], got {list(cloud.shape)}")


def coordinates(cloud: Tensor) -> Any:
    """Return the two coordinates of points ``[N, 2]``, as matplotlib takes them."""
    return cloud.detach().double().cpu().T.numpy()


def _set_limits(axes: Axes, seen: Tensor) -> None:
    """Show a square around all finite points that are to be seen."""
    seen = seen[seen.isfinite().all(1)]
    if len(seen) == 0:
        return
    low, high = seen.amin(0), seen.amax(0)
    middle = ((low + high) / 2).tolist()
    reach = (0.5 + MARGIN) * float((high - low).max()) or 1.0
    axes.set_xlim(middle[0] - reach, middle[0] + reach)
    axes.set_ylim(middle[1] - reach, middle[1] + reach)


def densities(
    panels: Mapping[str, LogDensity],
    around: Tensor,
    *,
    side: int = 100,
    title: str = "",
) -> Figure:
    """Return log-densities over one part of the plane, such as those of a prior and of a flow from it.

    Args:
        panels: functions of points ``[B, 2]`` that give log p ``[B]`` in nats, by the name that stands above
            them, such as ``{"prior": lambda x: prior.log_prob(x, c.expand(len(x)))}``.
        around: points ``[N, 2]``, such as the data: the square around them is seen, in their dtype.
        side: points of the grid along each axis; side² values of each density are computed.
        title: of the picture.

    Raises:
        InputError: no points of the plane, or a density that gives another number of values.
        OptionError: a grid of fewer than two points a side.
    """
    if side < 2:
        raise OptionError(f"densities: expected side >= 2, got side={side}")
    figure, places = plane_axes(list(panels), [around], title=title)
    # Rows from below, in the middle of side² equal squares.
    middles = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    ends = places[0].get_xlim(), places[0].get_ylim()
    x, y = (float(low) + middles * float(high - low) for low, high in ends)
    grid = torch.cartesian_prod(y, x).flip(1).to(around)
    values = []
    for name, log_prob in panels.items():
        found = log_prob(grid).detach().double().cpu()
        if found.shape != (len(grid),):
            raise InputError(
                f"densities: expected log p of {len(grid)} points [{len(grid)}] from '{name}', "
                f"got {list(found.shape)}; give the condition once for each point"
            )
        values.append(found.view(side, side))
    finite = torch.cat([value[value.isfinite()] for value in values])
    top = float(finite.max()) if len(finite) else 0.0
    for axes, value in zip(places, values, strict=True):
        axes.imshow(
            value.nan_to_num(nan=float("-inf")).clamp(min=top - DEPTH).numpy(),
            extent=(*axes.get_xlim(), *axes.get_ylim()),
            origin="lower",
            interpolation="nearest",
            aspect="auto",
            cmap="viridis",
            vmin=top - DEPTH,
            vmax=top,
        )
    add_scale(figure, places, places[-1].images[0], "log-density, nats")
    return figure
