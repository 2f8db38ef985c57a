"""The header of a ``.npy`` array: what lies behind it, before any of it is read."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np

from flowprior.errors import InputError
from flowprior.storage.writing import one_line


def npy_header(stream: IO[bytes], file: Path | str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns come first, and type by the header of a ``.npy``, behind which numbers follow.

    Raises:
        InputError: an array of objects, which would have to be unpickled.
        ValueError: no ``.npy``, one of an unknown version, or a broken header.
    """
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read:
        raise ValueError(f"a .npy of version {version}")
    try:
        shape, fortran, dtype = read[version](stream)
    except Exception as error:  # numpy parses it as Python's source, which fails in a dozen ways
        raise ValueError(f"a broken header: {one_line(error)}") from error
    if dtype.hasobject:
        raise InputError(
            f"{file}: expected numbers, got pickled objects, which are never loaded; save numbers"
        )
    return shape, fortran, dtype
