"""Which arrays of events are pictures, and how they become [channels, height, width] in [-1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.errors import InputError

PICTURE_CHANNELS = (1, 3)
_SMALLEST_SIDE = 5
"""A side below it may be a number of channels; pictures with transparency have four."""
_HIGHEST = 2.0
"""Pictures in [0, 1] or [-1, 1] stay below it, those in 0 … 255 do not."""


def picture_events(x: Tensor, name: str) -> tuple[Tensor, bool]:
    """Events as float32 with channels first, and whether they are pictures.

    Bytes ``[N, H, W]``, ``[N, C, H, W]`` or ``[N, H, W, C]`` are pictures and come out in [-1, 1].
    Floating-point events ``[N, C, H, W]`` or ``[N, H, W, C]`` with one or three channels are pictures if they
    lie in [-1, 1].

    Args:
        x: dense events ``[N, *event]`` of real numbers, finite.
        name: for messages.

    Raises:
        InputError: bytes or square events whose channels come last and are neither one nor three; or events
            of a picture's shape in 0 … 255, which are neither bytes nor scaled.
    """
    if x.dtype == torch.uint8 and x.dim() == 3 and min(x.shape[1:]) >= _SMALLEST_SIDE:
        x = x[:, None]
    if x.dim() != 4:
        return x.float(), False
    _check_channels(x, name)
    if is_channels_last(x.shape[1:]):
        x = x.permute(0, 3, 1, 2).contiguous()
    is_shaped = x.shape[1] in PICTURE_CHANNELS
    if x.dtype == torch.uint8:
        return x.float() / 127.5 - 1, is_shaped
    x = x.float()
    if is_shaped:
        check_picture_range(x, name)
    return x, is_shaped and x.numel() > 0 and float(x.abs().max()) <= 1


def is_channels_last(event: torch.Size) -> bool:
    """Whether an event ``[H, W, C]`` is a picture whose one or three channels come last."""
    first, _, last = event
    return last in PICTURE_CHANNELS and first not in PICTURE_CHANNELS


def check_picture_range(x: Tensor, name: str) -> None:
    """Refuse events of a picture's shape ``[N, C, H, W]`` that look like unscaled bytes.

    Raises:
        InputError: nothing is negative and something is above 2.
    """
    if not x.numel():
        return
    least, most = float(x.min()), float(x.max())
    if least >= 0 and most > _HIGHEST:
        raise InputError(
            f"{name}: expected pictures as bytes (uint8) or scaled to [-1, 1], got {x.dtype} "
            f"{list(x.shape[1:])} from {least:g} to {most:g}; pass x / 127.5 - 1 for 0 to 255, "
            "or take the mean off what is no picture"
        )


def _check_channels(x: Tensor, name: str) -> None:
    """Refuse channels in the last place that would be taken for the width of a picture."""
    first, second, last = x.shape[1:]
    is_certain = x.dtype == torch.uint8 or first == second
    if is_certain and last in (2, 4) and first >= _SMALLEST_SIDE and second >= _SMALLEST_SIDE:
        raise InputError(
            f"{name}: expected 1 or 3 channels, got {x.dtype} {list(x.shape[1:])}, with {last} in "
            "the last place; lay transparency on white, or move them to the front"
        )
