"""Trajectories from source samples to samples: lines in the plane, images along t, and animations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowprior.errors import InputError, OptionError
from flowprior.pictures.grid import Panel, beside, check_drawable, image_sheet
from flowprior.pictures.points import (
    add_legend,
    class_colour,
    coordinates,
    plane_axes,
    rows_of_classes,
    scatter,
)
from flowprior.pictures.sheet import class_name, clipped, draw_sheet
from flowprior.storage.writing import replacing

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_STATES = 8
"""The images of a strip; first and last state are among them, the others lie evenly between."""
RING, LINE = 12, 0.7
SUFFIX = ".gif"
"""The suffix of an animation's file."""
LONGEST_TITLE = 48
MOST_FRAMES = 16
"""States that are shown; of more, so many that lie evenly between the first and the last."""
FRAMES_A_SECOND = 5
HELD = 4
"""Further frames for which the first and the last state stand still."""


def trajectories(
    states: Tensor,
    times: Tensor | Sequence[float],
    cond: Tensor | None = None,
    *,
    real: Tensor | None = None,
    names: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """Return the way of each sample: a line of the plane, or a strip of images along t, one row a sample.

    Args:
        states: of ``flow.solve(…, trajectory=True).trajectory``: ``[T, N, 2]`` or ``[T, N, C, H, W]``.
        times: of the states ``[T]``, as ``solve(…).times``.
        cond: labels ``[N]``, or None.
        real: real points ``[M, 2]`` in grey underneath; images do without.
        names: of the classes; by default their numbers.
        title: of the picture.

    Raises:
        InputError: events that have no picture, or another number of times than of states.
    """
    check_states(states, times)
    if states.dim() == 3:
        return trajectory_panels({"": (states, cond)}, real=real, names=names, title=title)
    rows, row_names = _one_row_a_sample(states.shape[1], cond, names)
    places = spread_places(len(states), MOST_STATES)
    panels = {f"t = {float(times[place]):.2g}": (states[place], rows) for place in places}
    return beside(panels, columns=1, names=row_names, title=title)


def trajectory_panels(
    panels: Mapping[str, Panel],
    *,
    real: Tensor | None = None,
    names: Sequence[str] | None = None,
    title: str = "",
    frame: Tensor | None = None,
) -> Figure:
    """Return trajectories of several flows in the plane, from source samples (rings) to samples.

    Args:
        panels: states ``[T, N, 2]`` and labels ``[N]`` or None, by the name that stands above them.
        real: real points ``[M, 2]``, in grey under each.
        names: of the classes; by default their numbers.
        title: of the picture.
        frame: points ``[K, 2]`` that decide which part of the plane is seen; by default all that are drawn.

    Raises:
        InputError: no points of the plane.
    """
    clouds = [states.flatten(0, 1) for states, _ in panels.values()]
    figure, places = plane_axes(list(panels), clouds, real=real, title=title, frame=frame)
    for axes, (states, cond) in zip(places, panels.values(), strict=True):
        _draw_lines(axes, states, cond)
        axes.scatter(
            *coordinates(states[0]),
            s=RING,
            facecolors="none",
            edgecolors="0.2",
            linewidths=LINE,
            label="source",
        )
        scatter(axes, states[-1], cond, names)
    add_legend(figure, places)
    return figure


def spread_places(count: int, most: int) -> list[int]:
    """Return at most so many of ``count`` places: the first, the last, and what lies evenly between."""
    return torch.linspace(0, count - 1, min(most, count)).round().long().tolist()


def check_states(states: Tensor, times: Tensor | Sequence[float]) -> None:
    """Refuse states that have no picture, or that do not lie at the times.

    Raises:
        InputError: neither ``[T, N, 2]`` nor ``[T, N, C, H, W]``, or not T times.
    """
    check_drawable(states.shape[2:])
    if len(times) != len(states) or len(states) == 0:
        raise InputError(
            f"picture: expected one time for each state, got {len(states)} states and {len(times)} times; "
            "take both from one flow.solve(…, trajectory=True)"
        )


def _draw_lines(axes: Axes, states: Tensor, cond: Tensor | None) -> None:
    """Draw one thin line a sample, in the colour of its class."""
    from matplotlib.collections import LineCollection

    lines = states.detach().double().cpu().transpose(0, 1)
    classes = [(class_colour(label), lines[rows.cpu()]) for label, rows in rows_of_classes(cond)]
    for colour, own in classes or [("0.5", lines)]:
        axes.add_collection(LineCollection(list(own.numpy()), colors=colour, linewidths=LINE, alpha=0.6))


def _one_row_a_sample(
    count: int, cond: Tensor | None, names: Sequence[str] | None
) -> tuple[Tensor, Sequence[str]]:
    """Return the row of each sample, and the name of its class for each row, in the order of the classes."""
    if cond is None or cond.is_floating_point():
        return torch.arange(count), [""] * count
    order = cond.cpu().argsort(stable=True)
    return order.argsort(), [class_name(label, names) for label in cond.cpu()[order].tolist()]


def animate(
    states: Tensor,
    times: Tensor | Sequence[float],
    cond: Tensor | None = None,
    *,
    real: Tensor | None = None,
    names: Sequence[str] | None = None,
    title: str = "",
) -> FuncAnimation:
    """Return an animation of samples on their way: images in rows of classes, or points of the plane.

    Args:
        states: of ``flow.solve(…, trajectory=True).trajectory``: ``[T, N, C, H, W]`` or ``[T, N, 2]``.
        times: of the states ``[T]``, as ``solve(…).times``; each frame says its own.
        cond: labels ``[N]``, or None.
        real: real points ``[M, 2]`` in grey underneath; images do without.
        names: of the classes; by default their numbers.
        title: of every frame.

    Raises:
        InputError: events that have no picture, or another number of times than of states.
    """
    from matplotlib.animation import FuncAnimation

    check_states(states, times)
    places = spread_places(len(states), MOST_FRAMES)
    states, shown = states[places].detach().cpu(), [float(times[place]) for place in places]
    cond = None if cond is None else cond.cpu()
    title = clipped(title, LONGEST_TITLE) + ", " * bool(title)
    titles = [f"{title}t = {time:.2f}" for time in shown]
    if states.dim() == 3:
        figure, show = _points(states, cond, names, titles[0], real)
    else:
        figure, show = _images(states, cond, names, titles[0])
    words = figure.texts[-1]

    def frame(number: int) -> tuple[()]:
        words.set_text(titles[number])
        show(number)
        return ()

    order = [*[0] * HELD, *range(len(states)), *[len(states) - 1] * HELD]
    return FuncAnimation(figure, frame, frames=order, interval=1000 / FRAMES_A_SECOND, cache_frame_data=False)


def check_animation(path: Path | str) -> None:
    """Refuse a file that no animation can be written to, before anything is drawn.

    Raises:
        OptionError: another suffix than .gif.
    """
    if Path(path).suffix.lower() != SUFFIX:
        raise OptionError(f"animation: cannot write '{path}'; choose a name that ends in {SUFFIX}")


def save_animation(animation: FuncAnimation, path: Path | str) -> None:
    """Write an animation to ``path``, a .gif; its folder is made.

    Raises:
        OptionError: as :func:`check_animation`.
        CheckpointError: the file cannot be written.
    """
    from matplotlib.animation import PillowWriter

    check_animation(path)
    with replacing(path, keep_suffix=True) as temporary:
        animation.save(temporary, writer=PillowWriter(fps=FRAMES_A_SECOND))


Drawn = tuple["Figure", Callable[[int], None]]
"""A figure, and the function that shows the state of a number in it."""


def _images(states: Tensor, cond: Tensor | None, names: Sequence[str] | None, title: str) -> Drawn:
    """Return rows of classes; the pixels of a state take the place of those of another."""
    sheets = [image_sheet({"": (x, cond)}, names=names) for x in states]
    figure = draw_sheet(sheets[0], title)
    image = figure.axes[0].images[0]

    def show(number: int) -> None:
        image.set_data(sheets[number].canvas.numpy())

    return figure, show


def _points(
    states: Tensor, cond: Tensor | None, names: Sequence[str] | None, title: str, real: Tensor | None
) -> Drawn:
    """Return clouds of the plane, which is seen as far as any state or the real points reach."""
    figure, (axes,) = plane_axes([""], [states.flatten(0, 1)], real=real, title=title, frame=None)
    clouds = scatter(axes, states[0], cond, names)
    add_legend(figure, [axes])

    def show(number: int) -> None:
        for cloud, rows in clouds:
            cloud.set_offsets(coordinates(states[number][rows]).T)

    return figure, show
