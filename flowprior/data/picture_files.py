"""The decoding of one image file, whose size is read from its header first, to float32 in [-1, 1]."""

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
"""The formats that Pillow may read, whatever a file's name; some of its other readers start programs."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
"""The suffixes of the files that count as images of a folder."""
MOST_PIXELS = 50_000_000
"""The largest number of pixels of a file that is decoded."""
MOST_EVENT_PIXELS = 2048 * 2048
"""The largest number of pixels of a data sample, of which a training batch holds many."""
_NAMED = 3
"""The number of unreadable images that a message names; it counts all of them."""
TURNED = ("JPEG", "WEBP")
"""The formats of photographs, whose header has the orientation of the camera."""
ORIENTATION = 0x0112
"""The EXIF tag of the camera's orientation."""
ON_THEIR_SIDE = (5, 6, 7, 8)
"""The orientations at which height and width change places."""
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
"""The modes of Pillow's images with 16 bits a pixel."""


class NamedBytes(io.BytesIO):
    """The bytes of a file inside another file, such as a shard, with a name for messages."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__


PictureFile = Path | NamedBytes


def picture_size(file: PictureFile) -> tuple[int, int]:
    """Return height and width from the file's header, turned as the orientation of the camera says.

    Raises:
        InputError: no image, or one of more than :data:`MOST_PIXELS`.
    """
    with _reading(file), _opened(file) as image:
        turned = image.format in TURNED and image.getexif().get(ORIENTATION) in ON_THEIR_SIDE
        return (image.width, image.height) if turned else (image.height, image.width)


def event_size(file: PictureFile) -> tuple[int, int]:
    """Return the height and width of the first image of a data set, which sets those of all.

    Raises:
        InputError: no image, or one that is too large for a data sample.
    """
    height, width = picture_size(file)
    if height * width > MOST_EVENT_PIXELS:
        raise InputError(
            f"{file}: expected at most {MOST_EVENT_PIXELS:,} pixels, got {width} x {height}; pass size= to "
            "scale all images"
        )
    return height, width


def read_event(file: PictureFile, size: tuple[int, int], channels: int, *, scale: bool) -> Tensor:
    """Decode an image as a data sample of one size.

    Args:
        file: the image.
        size: the height and width.
        channels: 1 or 3.
        scale: True to scale and crop the image to this size, False to refuse another size.

    Raises:
        InputError: an image of another size, or one that :func:`read_picture` refuses.
    """
    if not scale and (found := picture_size(file)) != size:
        raise InputError(
            f"{file}: expected {size[1]} x {size[0]} pixels as in the first image, got {found[1]} x "
            f"{found[0]}; pass size= to scale all images"
        )
    return read_picture(file, size if scale else None, channels)


def read_picture(file: PictureFile, size: tuple[int, int] | None, channels: int) -> Tensor:
    """Decode the first frame to float32 ``[channels, height, width]`` in [-1, 1].

    Transparent pixels become white, and a photograph is turned by its EXIF orientation. Images of 16 bits
    keep their precision. With ``size`` (height, width) the image is scaled on its shorter side and cropped at
    the centre.

    Raises:
        InputError: a file that cannot be decoded, has more than :data:`MOST_PIXELS`, or 32-bit pixels.
    """
    with _reading(file):
        with _opened(file) as opened:
            opened.load()
            is_short = opened.mode in _SIXTEEN_BITS or (
                opened.mode == "I" and opened.format in ("PNG", "PPM")
            )
            if is_short:  # in units of 0 … 255, in floating point, so that no bit is lost
                image = Image.fromarray(np.asarray(opened).astype(np.float32) / 257.0)
            else:
                image = _in_bytes(_upright(opened), file)
        if size is not None:
            image = _fit(image, size)
        return _tensor(image, channels) / 127.5 - 1


def read_opacity(file: PictureFile, size: tuple[int, int]) -> Tensor:
    """Decode the opacity of the first frame, scaled to ``size``: float32 ``[1, height, width]`` in [0, 1].

    Raises:
        InputError: a file that cannot be decoded, or has more than :data:`MOST_PIXELS`.
    """
    with _reading(file), _opened(file) as opened:
        opened.load()
        return _tensor(_fit(_upright(opened).convert("RGBA").getchannel("A"), size), 1) / 255


def read_each(files: Sequence[Path], read: Callable[[Path], T], name: str) -> list[T]:
    """Apply ``read`` to each file and return the results in order.

    Raises:
        InputError: files that cannot be read; the message counts them and names the first.
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
            f"{name}: {len(failed)} of {len(set(files))} images cannot be used, such as {named}; "
            f"the first: {next(iter(failed.values()))}"
        )
    if failed:
        raise next(iter(failed.values()))
    return found


@contextmanager
def _reading(file: PictureFile) -> Iterator[None]:
    """Turn the many kinds of errors that decoders raise for damaged files into an InputError of one line."""
    try:
        yield
    except (InputError, MemoryError):  # Too little memory is the machine's fault, not the image's.
        raise
    except Exception as error:
        raise InputError(
            f"{file}: cannot be decoded as an image ({one_line(error)}); repair or remove it"
        ) from error


def _opened(file: PictureFile) -> Image.Image:
    """Open a file and check its size by its header, without decoding it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own bound is lower
        image = Image.open(file, formats=FORMATS)
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise InputError(
            f"{file}: has {image.width} x {image.height} pixels, more than {MOST_PIXELS:,}; scale it down"
        )
    return image


def _in_bytes(image: Image.Image, file: PictureFile) -> Image.Image:
    """Convert an image to 8 bits of grey, or of red, green and blue; transparent pixels become white.

    Raises:
        InputError: 32-bit or floating-point pixels, of which the file does not say which number is white.
    """
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    if image.mode in ("I", "F"):
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise InputError(
            f"{file}: expected pixels of 8 or 16 bits, got {kind} pixels; save the image with 8 or 16 bits, "
            "or all images as one .npz file with x in [-1, 1]"
        )
    return image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")


def _upright(image: Image.Image) -> Image.Image:
    return ImageOps.exif_transpose(image) if image.format in TURNED else image.copy()


def _fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    height, width = size
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)


def _tensor(image: Image.Image, channels: int) -> Tensor:
    """Return the pixels as float32 ``[channels, height, width]`` in 0 … 255."""
    if image.mode == "F":
        grey = torch.from_numpy(np.array(image)).clamp(0, 255)
        return grey.expand(channels, *grey.shape).contiguous()
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], channels).permute(2, 0, 1).float()
