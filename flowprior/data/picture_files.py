"""One picture file: its size is read before it is decoded, and its numbers come out as 0 … 255."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from flowprior.errors import InputError
from flowprior.storage.writing import one_line

T = TypeVar("T")

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""What Pillow may take a file for, whatever its name says; some of its other readers start programs."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
"""Endings of the files that a folder's pictures are looked for among."""
MOST_PIXELS = 50_000_000
"""Pixels of a file that is decoded, to be scaled down."""
MOST_EVENT_PIXELS = 2048 * 2048
"""Pixels of an event; a training batch holds many."""
_NAMED = 3
"""Unreadable pictures that a message names; it counts all."""
TURNED = ("JPEG", "WEBP")
"""Formats of photographs, whose header says how the camera was held."""
ORIENTATION = 0x0112
"""EXIF's tag of how a camera was held."""
ON_THEIR_SIDE = (5, 6, 7, 8)
"""Its values where height and width change places."""
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")


class NamedBytes(io.BytesIO):
    """The bytes of a file that lies inside another one, such as a shard; messages call it ``name``."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__


PictureFile = Path | NamedBytes


def picture_size(file: PictureFile) -> tuple[int, int]:
    """(height, width) from the file's header, as it is to be looked at.

    Raises:
        InputError: no picture, or one of more than :data:`MOST_PIXELS`.
    """
    with _reading(file), _opened(file) as picture:
        turned = picture.format in TURNED and picture.getexif().get(ORIENTATION) in ON_THEIR_SIDE
        return (picture.width, picture.height) if turned else (picture.height, picture.width)


def read_picture(file: PictureFile, size: tuple[int, int] | None, channels: int) -> Tensor:
    """The first frame as float32 ``[channels, height, width]`` in [-1, 1], transparency laid on white.

    A photograph is turned as EXIF says. Pictures of 16 bits keep them. With ``size``
    (height, width) the picture is scaled on its shorter side and cropped at the centre.

    Raises:
        InputError: it cannot be decoded, has more than :data:`MOST_PIXELS`, or numbers without a known white.
    """
    with _reading(file):
        with _opened(file) as opened:
            opened.load()
            is_short = opened.mode in _SIXTEEN_BITS or (
                opened.mode == "I" and opened.format in ("PNG", "PPM")
            )
            if is_short:  # in units of 0 … 255, in floating point, so that no bit is lost
                picture = Image.fromarray(np.asarray(opened).astype(np.float32) / 257.0)
            else:
                picture = _in_bytes(_upright(opened), file)
        if size is not None:
            picture = _fit(picture, size)
        return _tensor(picture, channels) / 127.5 - 1


def read_opacity(file: PictureFile, size: tuple[int, int]) -> Tensor:
    """How opaque each pixel of the first frame is, float32 ``[1, height, width]`` in [0, 1]; of this size.

    Raises:
        InputError: it cannot be decoded, or has more than :data:`MOST_PIXELS`.
    """
    with _reading(file), _opened(file) as opened:
        opened.load()
        return _tensor(_fit(_upright(opened).convert("RGBA").getchannel("A"), size), 1) / 255


def check_headers(files: Sequence[Path], name: str) -> None:
    """Read the header of every file, so that what is no picture is known before any training.

    A file that is damaged further down is found when it is decoded.

    Raises:
        InputError: some are no pictures, or too large; their number, and the first of them by name.
    """
    read_each(files, picture_size, name)


def read_each(files: Sequence[Path], read: Callable[[Path], T], name: str) -> list[T]:
    """What ``read`` gives of each file, in their order.

    Raises:
        InputError: of the one file that cannot be read; or how many cannot, and the first of them by name.
    """
    found, failed = [], {}
    for file in files:
        try:
            found.append(read(file))
        except InputError as error:
            failed[file] = error
    if len(failed) > 1:
        named = ", ".join(file.name for file in list(failed)[:_NAMED])
        raise InputError(
            f"{name}: {len(failed)} of {len(set(files))} pictures cannot be used, such as {named}; "
            f"the first: {next(iter(failed.values()))}"
        )
    if failed:
        raise next(iter(failed.values()))
    return found


@contextmanager
def _reading(file: PictureFile) -> Iterator[None]:
    """Turn what the decoders of damaged files raise, a dozen kinds, into one line."""
    try:
        yield
    except (InputError, MemoryError):  # Short of memory is the machine, not the picture.
        raise
    except Exception as error:
        raise InputError(
            f"{file}: cannot be decoded as a picture ({one_line(error)}); repair or remove it"
        ) from error


def _opened(file: PictureFile) -> Image.Image:
    """The file, its header read and its size checked, nothing decoded yet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own bound is lower
        picture = Image.open(file, formats=FORMATS)
    if picture.width * picture.height > MOST_PIXELS:
        picture.close()
        raise InputError(
            f"{file}: has {picture.width} x {picture.height} pixels, more than {MOST_PIXELS:,}; scale it down"
        )
    return picture


def _in_bytes(picture: Image.Image, file: PictureFile) -> Image.Image:
    """The picture as grey or red, green and blue of 8 bits; transparency is laid on white.

    Raises:
        InputError: 32-bit or floating-point numbers, of which nobody says which is white.
    """
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")
    if picture.mode in ("I", "F"):
        kind = "floating-point" if picture.mode == "F" else "32-bit"
        raise InputError(
            f"{file}: expected pixels of 8 or 16 bits, got {kind} ones, whose white is unknown; save it with "
            "8 or 16 bits, or all pictures as one .npz of x in [-1, 1]"
        )
    return picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB")


def _upright(picture: Image.Image) -> Image.Image:
    return ImageOps.exif_transpose(picture) if picture.format in TURNED else picture.copy()


def _fit(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    height, width = size
    return ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)


def _tensor(picture: Image.Image, channels: int) -> Tensor:
    """float32 ``[channels, height, width]`` in 0 … 255."""
    if picture.mode == "F":
        grey = torch.from_numpy(np.array(picture)).clamp(0, 255)
        return grey.expand(channels, *grey.shape).contiguous()
    pixels = np.array(picture.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], channels).permute(2, 0, 1).float()
