"""Grids of images, one row a class; data, prior and flow beside each other; the images of a condition."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from flowprior.conditions import Conditions, Parts
from flowprior.errors import InputError
from flowprior.pictures.points import Panel, point_panels
from flowprior.pictures.sheet import Block, Sheet, class_name, draw_sheet, sheet_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHANNELS = (1, 3, 4)
"""Grey, RGB, RGB with opacity."""
SMALLEST_SIDE = 48
"""Pixels to which the shorter side of a small image is enlarged at least."""
MOST_COLUMNS = 24


def sample_grid(
    x: Tensor,
    labels: Tensor | None = None,
    *,
    columns: int | None = None,
    names: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """Return images in rows, one class a row, with the class's name at its left.

    A class with more images than columns takes several lines.

    Args:
        x: images ``[N, C, H, W]`` in [-1, 1] with 1, 3 or 4 channels; values outside are clamped.
        labels: their classes ``[N]``; None or embeddings: unnamed rows.
        columns: images in a line; by default those of the largest class, at most 24, or about √N.
        names: of the classes; by default their numbers.
        title: of the picture, such as the setting that the images come from.

    Raises:
        InputError: no images, another number of channels, or more than a picture can hold.
    """
    return draw_sheet(image_sheet({"": (x, labels)}, columns=columns, names=names), title)


def image_sheet(
    panels: Mapping[str, Panel], *, columns: int | None = None, names: Sequence[str] | None = None
) -> Sheet:
    """Return grids of images beside each other, whose rows are the same classes, and their names.

    Images of one panel without labels are drawn without classes in all.

    Raises:
        InputError: as :func:`sample_grid`.
    """
    for x, _ in panels.values():
        if x.dim() != 4 or len(x) == 0 or x.shape[1] not in CHANNELS:
            raise InputError(
                f"picture: expected images [N, C, H, W] with 1, 3 or 4 channels, got {list(x.shape)}"
            )
    classes = _classes(panels)
    blocks = []
    for name, (x, labels) in panels.items():
        rows = [
            _pixels(x if labels is None or label is None else x[(labels == label).to(x.device)])
            for label in classes
        ]
        blocks.append(Block(name, rows, _columns(max(map(len, rows)), columns, len(classes) > 1)))
    return sheet_of(blocks, ["" if label is None else class_name(label, names) for label in classes])


def first_of_each(labels: Tensor | None, count: int, each: int = 6, most: int = 10) -> Tensor:
    """Return indices of the first ``each`` samples of the first ``most`` labels; without labels of each².

    Args:
        labels: ``[N]``; None or embeddings ``[N, E]``: there are no classes.
        count: N.
    """
    if labels is None or labels.is_floating_point():
        return torch.arange(min(count, each**2))
    return torch.cat([(labels == label).nonzero()[:each, 0] for label in labels.unique()[:most]])


def _classes(panels: Mapping[str, Panel]) -> list[int | None]:
    """Return the labels that any panel has, in ascending order; ``[None]`` where one has none."""
    found: set[int] = set()
    for x, labels in panels.values():
        if labels is None or labels.is_floating_point() or labels.shape != x.shape[:1]:
            return [None]
        found |= set(labels.tolist())
    return [*sorted(found)]


def _pixels(x: Tensor) -> Tensor:
    """Return enlarged RGB bytes ``[N, 3, H, W]``; opacity is put on white."""
    scale = max(1, math.ceil(SMALLEST_SIDE / min(x.shape[2:])))
    values = ((x.detach().float().cpu().nan_to_num().clamp(-1, 1) + 1) * 127.5).round()
    if x.shape[1] == 4:
        opacity = values[:, 3:] / 255
        values = (values[:, :3] * opacity + 255 * (1 - opacity)).round()
    pixels = values.to(torch.uint8).expand(-1, 3, -1, -1)
    return pixels.repeat_interleave(scale, 2).repeat_interleave(scale, 3)


def _columns(longest: int, columns: int | None, labelled: bool) -> int:
    return min(longest, columns or (MOST_COLUMNS if labelled else math.ceil(math.sqrt(longest))))


def beside(
    panels: Mapping[str, Panel],
    *,
    names: Sequence[str] | None = None,
    title: str = "",
    real: Tensor | None = None,
    frame: Tensor | None = None,
    columns: int | None = None,
) -> Figure:
    """Return samples panel beside panel, as what they are: images in rows of classes, or points of the plane.

    Args:
        panels: samples ``[N, *event]`` and their condition, by the name that stands above them, such as
            ``{"real data": (x1, c), "prior alone": (x0, c), "flow": (x, c)}``.
        names: of the classes; by default their numbers.
        title: of the picture.
        real: real points in grey under every panel; images do without.
        frame: points ``[K, 2]`` that decide which part of the plane is seen; by default all that are drawn.
        columns: images of a panel in a line.

    Raises:
        InputError: events that have no picture, or none at all.
    """
    (x, _), *_ = panels.values()
    check_drawable(x.shape[1:])
    if x.dim() == 4:
        return draw_sheet(image_sheet(panels, columns=columns, names=names), title)
    return point_panels(panels, real=real, names=names, title=title, frame=frame)


def is_drawable(event_shape: Sequence[int]) -> bool:
    """Return True for images of 1, 3 or 4 channels and for points of the plane."""
    return (len(event_shape) == 3 and event_shape[0] in CHANNELS) or tuple(event_shape) == (2,)


def check_drawable(event_shape: Sequence[int]) -> None:
    """Refuse events that have no picture, before they are generated.

    Raises:
        InputError: neither images nor points of the plane.
    """
    if not is_drawable(event_shape):
        raise InputError(
            "picture: expected images [N, 1, 3 or 4, H, W] or points [N, 2], got "
            f"[N, {', '.join(map(str, event_shape))}]; write an .npz or .pt file instead"
        )


def given_pictures(cond: Conditions | None, event_shape: Sequence[int]) -> Tensor | None:
    """Return the images ``[B, C, H, W]`` in a condition, enlarged to the size of events [C, H, W].

    An image with one channel more, a mask, is shown without it. None if no part of the condition is an image
    of as many channels.
    """
    parts = [part for _, part in cond.items()] if isinstance(cond, Parts) else [cond]
    channels = event_shape[0]
    for part in parts:
        if isinstance(part, Tensor) and part.dim() == 4 and part.shape[1] in (channels, channels + 1):
            shown = part[:, :channels].detach().float().cpu()
            return functional.interpolate(shown, tuple(event_shape[1:]), mode="nearest")
    return None
