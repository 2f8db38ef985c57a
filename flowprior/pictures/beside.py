"""Data, prior and flow beside each other, as images or as points; what a condition shows of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional

from flowprior.conditions import Conditions, Parts
from flowprior.errors import InputError
from flowprior.pictures.grid import CHANNELS, Panel, image_panels
from flowprior.pictures.points import point_panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def beside(
    panels: Mapping[str, Panel],
    *,
    names: Sequence[str] | None = None,
    title: str = "",
    real: Tensor | None = None,
    columns: int | None = None,
) -> Figure:
    """Samples as what they are, panel beside panel: images in rows of classes, or points of the plane.

    Args:
        panels: samples ``[N, *event]`` and their condition, by the name that stands above them, such as
            ``{"real data": (x1, c), "prior alone": (x0, c), "flow": (x, c)}``.
        names: of the classes; by default their numbers.
        title: of the picture.
        real: real points in grey under every panel; images do without.
        columns: images of a panel in a line.

    Raises:
        InputError: events that have no picture, or none at all.
    """
    (x, _), *_ = panels.values()
    check_drawable(x.shape[1:])
    if x.dim() == 4:
        return image_panels(panels, columns=columns, names=names, title=title)
    return point_panels(panels, real=real, names=names, title=title)


def is_drawable(event_shape: Sequence[int]) -> bool:
    """Whether events are images of 1, 3 or 4 channels, or points of the plane."""
    return (len(event_shape) == 3 and event_shape[0] in CHANNELS) or tuple(event_shape) == (2,)


def check_drawable(event_shape: Sequence[int]) -> None:
    """Refuse events that have no picture, before they are generated.

    Raises:
        InputError: neither images nor points of the plane.
    """
    if not is_drawable(event_shape):
        shape = ", ".join(map(str, event_shape))
        raise InputError(
            f"picture: expected images [N, 1, 3 or 4, H, W] or points [N, 2], got [N, {shape}]; "
            "write an .npz or .pt file instead"
        )


def given_pictures(cond: Conditions | None, event_shape: Sequence[int]) -> Tensor | None:
    """What a condition shows of pictures [C, H, W], each pixel as a square of pixels: ``[B, C, H, W]``.

    Of a picture with one channel more, that of what is known, the others are taken. None where no part of the
    condition is a picture of as many channels.
    """
    parts = [part for _, part in cond.items()] if isinstance(cond, Parts) else [cond]
    channels = event_shape[0]
    for part in parts:
        if isinstance(part, Tensor) and part.dim() == 4 and part.shape[1] in (channels, channels + 1):
            shown = part[:, :channels].detach().float().cpu()
            return functional.interpolate(shown, tuple(event_shape[1:]), mode="nearest")
    return None
