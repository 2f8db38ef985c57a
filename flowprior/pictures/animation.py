"""The flow in motion: all samples at once, from the prior at t = 0 to the data at t = 1, named by class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from flowprior.errors import OptionError
from flowprior.pictures.grid import image_sheet
from flowprior.pictures.points import add_legend, coordinates, plane_axes, scatter, scatter_real
from flowprior.pictures.sheet import clipped, draw_sheet
from flowprior.pictures.trajectories import check_states, spread_places
from flowprior.storage import replacing

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation, PillowWriter
    from matplotlib.figure import Figure

SUFFIX = ".gif"
"""What an animation's name ends in."""
LONGEST_TITLE = 48
MOST_FRAMES = 16
"""States that are shown; of more, so many that lie evenly between the first and the last."""
FRAMES_A_SECOND = 5
COLOURS = 128
"""Of a frame of a .gif: what is left out cannot be seen in grey, and a quarter of the file is saved."""
HELD = 4
"""Further frames for which the first and the last state stand still."""


def animate(
    states: Tensor,
    times: Tensor | Sequence[float],
    cond: Tensor | None = None,
    *,
    real: Tensor | None = None,
    names: Sequence[str] | None = None,
    title: str = "",
    columns: int | None = None,
) -> FuncAnimation:
    """An animation of samples on their way: images in rows of classes, or points of the plane.

    Args:
        states: of ``flow.solve(…, trajectory=True).trajectory``: ``[T, N, C, H, W]`` or ``[T, N, 2]``.
        times: of the states ``[T]``, as ``solve(…).times``; each frame says its own.
        cond: labels ``[N]``, or None.
        real: real points ``[M, 2]`` in grey underneath; images do without.
        names: of the classes; by default their numbers.
        title: of every frame.
        columns: images in a line.

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
    draw = _points if states.dim() == 3 else _images
    figure, show = draw(states, cond, real=real, names=names, title=titles[0], columns=columns)
    words = figure.texts[-1]

    def frame(number: int) -> tuple[()]:
        words.set_text(titles[number])
        show(number)
        return ()

    last = len(states) - 1
    order = [*[0] * HELD, *range(len(states)), *[last] * HELD]
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
    check_animation(path)
    with replacing(path, keep_suffix=True) as temporary:
        animation.save(temporary, writer=_gif_writer())


def _gif_writer() -> PillowWriter:
    """Pillow's writer, with a palette of fewer colours for each frame and no dots in between."""
    from matplotlib.animation import PillowWriter
    from PIL import Image

    class SmallGif(PillowWriter):
        def finish(self) -> None:
            plain = [frame.convert("RGB") for frame in self._frames]
            self._frames = [frame.quantize(COLOURS, dither=Image.Dither.NONE) for frame in plain]
            super().finish()

    return SmallGif(fps=FRAMES_A_SECOND)


Drawn = tuple["Figure", Callable[[int], None]]
"""A figure, and what shows the state of a number in it."""


def _images(states: Tensor, cond: Tensor | None, *, title: str, **options: Any) -> Drawn:
    """Rows of classes; the pixels of a state take the place of those of another."""
    given = {name: options[name] for name in ("names", "columns")}
    sheets = [image_sheet({"": (x, cond)}, **given) for x in states]
    figure = draw_sheet(sheets[0], title)
    image = figure.axes[0].images[0]

    def show(number: int) -> None:
        image.set_data(sheets[number].canvas.numpy())

    return figure, show


def _points(states: Tensor, cond: Tensor | None, *, title: str, **options: Any) -> Drawn:
    """Clouds of the plane, which is seen as far as any state or the real points reach."""
    real = options["real"]
    seen = [states.flatten(0, 1)] + ([] if real is None else [real])
    figure, (axes,) = plane_axes([""], title, seen)
    scatter_real(axes, real)
    clouds = scatter(axes, states[0], cond, options["names"])
    add_legend(figure, [axes])

    def show(number: int) -> None:
        for cloud, rows in clouds:
            cloud.set_offsets(coordinates(states[number][rows]).T)

    return figure, show
