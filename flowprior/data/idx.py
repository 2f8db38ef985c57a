"""IDX files (LeCun, https://yann.lecun.org/exdb/mnist): the container of MNIST and Fashion-MNIST."""

from __future__ import annotations

import gzip
import math
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowprior.errors import InputError

_UNSIGNED_BYTE = 0x08
MOST_BYTES = 2 << 30
"""Most data that a file may hold, unpacked."""


def read_idx(path: Path) -> Tensor:
    """Read an IDX file of unsigned bytes, plain or ``.gz``, as a uint8 tensor of the stored shape.

    Never more is read, or unpacked, than the header says.

    Raises:
        InputError: the file is not IDX, holds another type or over 2 GiB, or is truncated; it is named.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            shape = _read_shape(file, path)
            content = file.read(math.prod(shape) + 1)
            more = len(file.read(1 << 16)) if len(content) > math.prod(shape) else 0
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error}); install or unpack it again") from error
    if len(content) != math.prod(shape):
        raise InputError(
            f"{path}: expected {math.prod(shape)} bytes for shape {shape}, got {len(content) + more}"
            f"{' or more' if more == 1 << 16 else ''}; install or unpack the file again"
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8).reshape(shape).copy())


def _read_shape(file: BufferedIOBase, path: Path) -> list[int]:
    """The shape that the header says; the data follow."""
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0":
        raise InputError(f"{path}: expected an IDX file, got other content; install or unpack it again")
    kind, dimensions = start[2], start[3]
    if kind != _UNSIGNED_BYTE:
        raise InputError(f"{path}: expected IDX of unsigned bytes (type 0x08), got type {kind:#04x}")
    header = file.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise InputError(f"{path}: the IDX header is truncated; install or unpack the file again")
    shape = np.frombuffer(header, ">u4").tolist()
    if math.prod(shape) > MOST_BYTES:
        raise InputError(
            f"{path}: expected at most {MOST_BYTES:,} bytes, got shape {shape}; use a smaller file"
        )
    return shape
