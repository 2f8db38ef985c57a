"""IDX files (LeCun, https://yann.lecun.org/exdb/mnist): the container of MNIST and Fashion-MNIST."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowprior.errors import InputError

_UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> Tensor:
    """Read an IDX file of unsigned bytes, plain or ``.gz``, as a uint8 tensor of the stored shape.

    Raises:
        InputError: the file is not IDX, holds another type, or is truncated; it is named.
    """
    content = _read_bytes(path)
    if len(content) < 4 or content[:2] != b"\0\0":
        raise InputError(f"{path}: expected an IDX file, got other content; install or unpack it again")
    kind, dimensions = content[2], content[3]
    if kind != _UNSIGNED_BYTE:
        raise InputError(f"{path}: expected IDX of unsigned bytes (type 0x08), got type {kind:#04x}")
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise InputError(f"{path}: the IDX header is truncated; install or unpack the file again")
    shape = np.frombuffer(content, ">u4", dimensions, offset=4).tolist()
    if len(content) - start != math.prod(shape):
        raise InputError(
            f"{path}: expected {math.prod(shape)} bytes for shape {shape}, got {len(content) - start}; "
            "install or unpack the file again"
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy())


def _read_bytes(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error}); install or unpack the file again") from error
