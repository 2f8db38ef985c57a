"""Rows of a ``.npy`` array, memory-mapped or in bytes, as float32; also bfloat16 as ``ml_dtypes`` has it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowprior.data.npy_header import npy_header
from flowprior.data.picture_files import NamedBytes
from flowprior.errors import FlowpriorError, InputError
from flowprior.storage.writing import one_line

BFLOAT16 = np.dtype("V2")
"""What numpy takes bfloat16 for: it has no such type, and stores two bytes of no meaning."""


def mapped_rows(file: Path) -> np.ndarray:
    """The array of a ``.npy`` file as a read-only memory map; nothing is unpickled.

    Raises:
        InputError: it cannot be read, is cut off, or is no array.
    """
    try:
        with file.open("rb") as stream:
            npy_header(stream, file)
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except FlowpriorError:
        raise
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{file}: cannot be read as .npy ({one_line(error)}); write or download it again"
        ) from error


def array_of_bytes(content: NamedBytes, expected: torch.Size | None) -> Tensor:
    """A small ``.npy`` as float32 ``[*event]``; its size is looked at before memory is asked for.

    Raises:
        InputError: no ``.npy``, another shape than ``expected``, whole numbers, or a wrong length.
    """
    try:
        shape, fortran, dtype = npy_header(content, str(content))
    except (ValueError, EOFError) as error:
        raise InputError(f"{content}: cannot be read as .npy ({one_line(error)})") from error
    check_floating(dtype, str(content))
    if not shape or not all(shape) or (expected is not None and shape != tuple(expected)):
        wanted = "an event of numbers" if expected is None else f"an event {list(expected)} as the first"
        raise InputError(f"{content}: expected {wanted}, got {list(shape)}")
    held = content.getbuffer().nbytes - content.tell()
    if held != math.prod(shape) * dtype.itemsize:
        raise InputError(
            f"{content}: expected {math.prod(shape) * dtype.itemsize:,} bytes for an array {list(shape)}, "
            f"got {held:,}"
        )
    numbers = np.frombuffer(content.read(), dtype).reshape(shape, order="F" if fortran else "C")
    return as_float32(numbers)


def as_float32(stored: np.ndarray) -> Tensor:
    """Stored numbers of 16, 32 or 64 bits as a float32 tensor of their shape, in memory of its own."""
    if stored.dtype == BFLOAT16:
        bits = np.ascontiguousarray(stored).view(np.int16)
        return torch.from_numpy(bits.copy()).view(torch.bfloat16).float()
    with np.errstate(over="ignore"):  # What is too large becomes infinite, and is refused where it is read.
        return torch.from_numpy(stored.astype(np.float32, order="C"))


def check_floating(dtype: np.dtype, owner: str) -> None:
    """Check that events are stored as floating-point numbers.

    Raises:
        InputError: whole numbers, texts, or structures.
    """
    if dtype.kind == "f" or dtype == BFLOAT16:
        return
    advice = "store float16, float32 or bfloat16"
    if dtype.kind in "iu" and dtype.itemsize == 2:
        advice += "; bits of bfloat16 are to be stored as array.view('V2')"
    raise InputError(f"{owner}: expected floating-point numbers, got {dtype}; {advice}")
