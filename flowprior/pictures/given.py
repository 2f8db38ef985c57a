"""The pictures that a condition shows, such as low-resolution ones, to stand beside what is made of them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from flowprior.conditions import Conditions, Parts

PICTURE = 4
"""Dimensions of pictures [B, C, H, W]."""


def given_pictures(cond: Conditions | None, event_shape: Sequence[int]) -> Tensor | None:
    """What a condition shows of pictures [C, H, W], each pixel as a square of pixels: ``[B, C, H, W]``.

    Of a picture with one channel more, that of what is known, the others are taken. None where no part of the
    condition is a picture of as many channels.
    """
    parts = [part for _, part in cond.items()] if isinstance(cond, Parts) else [cond]
    channels = event_shape[0]
    for part in parts:
        if isinstance(part, Tensor) and part.dim() == PICTURE and part.shape[1] in (channels, channels + 1):
            shown = part[:, :channels].detach().float().cpu()
            return functional.interpolate(shown, tuple(event_shape[1:]), mode="nearest")
    return None
