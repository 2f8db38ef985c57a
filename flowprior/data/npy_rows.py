"""Rows of a ``.npy`` array, memory-mapped or in bytes, as float32; also bfloat16 as ``ml_dtypes`` has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowprior.data.picture_files import NamedBytes
from flowprior.errors import InputError
from flowprior.storage.writing import one_line

BFLOAT16 = np.dtype("V2")
"""What numpy takes bfloat16 for: it has no such type, and stores two bytes of no meaning."""


def mapped_rows(file: Path) -> np.ndarray:
    """The array of a ``.npy`` file as a read-only memory map; nothing is unpickled.

    Raises:
        InputError: it cannot be read, is cut off, or is no array.
    """
    try:
        return np.lib.format.open_memmap(file, mode="r")
    except Exception as error:  # numpy parses a header as Python's source, which fails in a dozen ways
        raise InputError(
            f"{file}: cannot be read as .npy ({one_line(error)}); write or download it again"
        ) from error


class MappedRows:
    """The rows ``[N_i, *row]`` of several memory-mapped arrays as one list.

    The system reads the rows that are asked for and forgets them where memory is short.

    Args:
        arrays: at least one, in the order of their rows.
    """

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self.arrays = arrays
        lengths = torch.tensor([len(array) for array in arrays])
        self._ends = lengths.cumsum(0)
        self._starts = self._ends - lengths

    def __len__(self) -> int:
        return int(self._ends[-1])

    def place(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Number of the array, and row in it, of rows int64 ``[B]`` counted over all arrays."""
        parts = torch.searchsorted(self._ends, rows, right=True)
        return parts, rows - self._starts[parts]

    def gather(self, rows: Tensor) -> Tensor:
        """Rows float32 ``[B, *row]``; each array is read in the order of its file."""
        parts, places = self.place(rows)
        found = torch.empty(len(rows), *self.arrays[0].shape[1:])
        for part in parts.unique().tolist():
            mine = (parts == part).nonzero().flatten()
            mine = mine[places[mine].argsort()]
            found[mine] = as_float32(self.arrays[part][places[mine].numpy()])
        return found


def array_of_bytes(content: NamedBytes, expected: torch.Size | None) -> Tensor:
    """A small ``.npy`` as float32 ``[*event]``.

    Raises:
        InputError: no ``.npy``, another shape than ``expected``, whole numbers, or one that is cut off.
    """
    try:
        stored = np.lib.format.read_array(content, allow_pickle=False)
    except Exception as error:  # as above; a header that promises too much is a MemoryError
        raise InputError(f"{content}: cannot be read as .npy ({one_line(error)})") from error
    check_floating(stored.dtype, str(content))
    shape = stored.shape
    if not stored.size or not shape or (expected is not None and shape != tuple(expected)):
        wanted = "an event of numbers" if expected is None else f"an event {list(expected)} as the first"
        raise InputError(f"{content}: expected {wanted}, got {list(shape)}")
    return as_float32(stored)


def as_float32(stored: np.ndarray) -> Tensor:
    """Stored numbers as a float32 tensor of their shape, in memory of its own."""
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
