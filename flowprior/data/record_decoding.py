"""From the bytes of one record to its event: pictures, and ``.npy`` arrays of floating-point numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.data.npy_rows import array_of_bytes
from flowprior.data.picture_files import MOST_EVENT_PIXELS, SUFFIXES, NamedBytes, picture_size, read_picture
from flowprior.errors import InputError

PICTURES = tuple(suffix.removeprefix(".") for suffix in SUFFIXES)
ARRAYS = ("npy",)


class EventDecoder:
    """Decodes the events of a data set, which all have one shape.

    Args:
        is_image: whether they are pictures; else arrays.
        size: height and width that pictures are scaled to on their shorter side and cropped to; None takes
            them as they are.
        channels: of pictures, 1 or 3.
    """

    def __init__(self, is_image: bool, size: int | None, channels: int) -> None:
        self.is_image, self.channels = is_image, channels
        self.sides = None if size is None else (size, size)

    def __call__(self, content: NamedBytes, expected: torch.Size | None) -> Tensor:
        """The event float32 ``[*event]``, pictures in [-1, 1].

        Args:
            content: the bytes of its member.
            expected: shape of an event; None where this is the first.

        Raises:
            InputError: it cannot be decoded, or has another shape.
        """
        if not self.is_image:
            return array_of_bytes(content, expected)
        if self.sides is None:
            found = picture_size(content)
            if expected is None and found[0] * found[1] > MOST_EVENT_PIXELS:
                raise InputError(
                    f"{content}: {found[1]} x {found[0]} pixels are too large for an event; pass size="
                )
            if expected is not None and found != tuple(expected[1:]):
                raise InputError(
                    f"{content}: expected {expected[2]} x {expected[1]} pixels as in the first record, got "
                    f"{found[1]} x {found[0]}; pass size= to scale all pictures"
                )
        return read_picture(content, self.sides, self.channels)
