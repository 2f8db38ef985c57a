"""Pictures of samples: a grid of images, a scatter plot of points in the plane."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowprior.errors import CheckpointError, FlowpriorError, InputError
from flowprior.storage import replacing

if TYPE_CHECKING:
    import numpy as np

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
GAP = 2
WHITE, GREY = 255, 128
SMALLEST_SIDE = 32


def save_picture(path: Path | str, x: Tensor, cond: Tensor | None = None) -> None:
    """Draw samples ``[N, *event]`` as what they are: images as a grid, points in the plane as a scatter plot.

    Raises:
        InputError: events of another kind, or none.
        CheckpointError: the file cannot be written.
    """
    check_drawable(x.shape[1:])
    if x.dim() == 4:
        save_grid(path, x, cond)
    else:
        save_scatter(path, x, cond)


def check_drawable(event_shape: Sequence[int]) -> None:
    """Refuse events that :func:`save_picture` could not draw, before they are generated.

    Raises:
        InputError: neither images nor points in the plane.
        FlowpriorError: points, and matplotlib is not installed.
    """
    if tuple(event_shape) == (2,):
        require_matplotlib()
    elif len(event_shape) != 3 or event_shape[0] not in MODES:
        shape = ", ".join(map(str, event_shape))
        raise InputError(
            f"picture: expected images [N, 1, 3 or 4, H, W] or points [N, 2], got [N, {shape}]; "
            "write an .npz or .pt file instead"
        )


def require_matplotlib() -> None:
    """Raise FlowpriorError where points of the plane could not be drawn."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise FlowpriorError(
            "picture: points are drawn with matplotlib; pip install 'flowprior[plot]', or write an .npz file"
        ) from error


def save_grid(
    path: Path | str,
    x: Tensor,
    cond: Tensor | None = None,
    *,
    columns: int | None = None,
    scale: int | None = None,
    gap: int = WHITE,
) -> None:
    """Write images in [-1, 1] as one picture, filled row by row; values outside are clamped.

    Args:
        path: file to write; its suffix decides the format.
        x: images ``[N, C, H, W]`` with 1, 3 or 4 channels.
        cond: their labels ``[N]``; equal runs of one label become rows.
        columns: images in a row; by default the length of those runs, else about √N.
        scale: whole-number enlargement; by default what brings a side to 32 pixels.
        gap: brightness of the gaps, 0 … 255.

    Raises:
        InputError: no images, or another number of channels.
        CheckpointError: the file cannot be written.
    """
    from PIL import Image

    if x.dim() != 4 or len(x) == 0 or x.shape[1] not in MODES:
        raise InputError(
            f"picture: expected images [N, C, H, W] with 1, 3 or 4 channels, got {list(x.shape)}"
        )
    columns = columns or _run_length(cond, len(x)) or math.ceil(math.sqrt(len(x)))
    scale = scale or max(1, math.ceil(SMALLEST_SIDE / min(x.shape[2:])))
    pixels = ((x.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    canvas = _tile(pixels.repeat_interleave(scale, 2).repeat_interleave(scale, 3), columns, gap)
    array = canvas.squeeze(0).numpy() if len(canvas) == 1 else canvas.permute(1, 2, 0).numpy()
    _write(path, lambda file: Image.fromarray(array).save(file))


def save_scatter(
    path: Path | str, x: Tensor, cond: Tensor | None = None, *, real: Tensor | None = None
) -> None:
    """Write points as a scatter plot.

    Args:
        path: file to write; its suffix decides the format.
        x: points ``[N, 2]``.
        cond: labels ``[N]``, or embeddings ``[N, E]`` whose first number counts, as colours.
        real: points ``[M, 2]`` to draw in grey underneath.

    Raises:
        InputError: no points of the plane.
        FlowpriorError: matplotlib is not installed.
        CheckpointError: the file cannot be written.
    """
    for cloud in (x,) if real is None else (x, real):
        if cloud.dim() != 2 or cloud.shape[1] != 2:
            raise InputError(f"picture: expected points [N, 2], got {list(cloud.shape)}")
    require_matplotlib()
    from matplotlib.figure import Figure

    colours = None if cond is None else (cond if cond.dim() == 1 else cond[:, 0]).cpu().numpy()
    palette = None if cond is None else "viridis" if cond.is_floating_point() else "tab10"
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.add_subplot()
    if real is not None:
        axes.scatter(*_coordinates(real), c="0.8", s=6, linewidths=0, label="data")
    axes.scatter(*_coordinates(x), c=colours, cmap=palette, s=6, linewidths=0, label="samples")
    axes.set_aspect("equal")
    if real is not None:
        axes.legend(loc="upper right")
    _write(path, lambda file: figure.savefig(file, dpi=120))


def _coordinates(points: Tensor) -> np.ndarray:
    return points.detach().double().cpu().T.numpy()


def _run_length(cond: Tensor | None, count: int) -> int | None:
    """Length of the runs of equal labels where all are of one length above 1."""
    if cond is None or cond.dim() != 1 or len(cond) != count:
        return None
    _, lengths = cond.unique_consecutive(return_counts=True)
    length = int(lengths[0])
    return length if len(lengths) > 1 and length > 1 and bool((lengths == length).all()) else None


def _tile(pixels: Tensor, columns: int, gap: int) -> Tensor:
    """Images ``[N, C, H, W]`` on one canvas ``[C, …, …]``, ``GAP`` pixels apart and from the edge."""
    from torchvision.utils import make_grid

    if len(pixels) == 1:  # make_grid returns a single image without an edge.
        return torch.nn.functional.pad(pixels[0], (GAP,) * 4, value=gap)
    canvas = make_grid(pixels, nrow=columns, padding=GAP, pad_value=gap)
    return canvas[: pixels.shape[1]]  # make_grid turns one channel into three.


def _write(path: Path | str, save: Callable[[Path], None]) -> None:
    path = Path(path)
    try:
        with replacing(path, keep_suffix=True) as temporary:
            save(temporary)
    except (OSError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"cannot write {path}: {error}; choose another file, such as grid.png"
        ) from error
