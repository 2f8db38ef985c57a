"""The arrays in ``.npz`` and ``.pt`` files, read without unpickling objects or unpacking without bound."""

from __future__ import annotations

import math
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowprior.conditions.rows import value_of_tensors
from flowprior.errors import InputError
from flowprior.storage.writing import one_line
from flowprior.streams.user_tensors import is_array, plain_tensor

MOST_UNPACKED_BYTES = 1 << 30
"""The bytes up to which a compressed file may unpack, whatever its own size."""
MOST_PACKING = 100
"""The multiple of its own size up to which a larger file may unpack."""
FLOAT_BYTES = 4
"""The bytes of one number after the conversion to float32."""


def condition_in(stored: Mapping[str, Tensor], file: str, ending: str = "") -> Any:
    """Return the condition of a split: a tensor, token states, a dictionary of parts, or None."""
    found = (value_of_tensors(stored, key + ending, file) for key in ("cond", "y", "labels"))
    return next((value for value in found if value is not None), None)


def read_arrays(file: Path) -> dict[str, Tensor]:
    """Return the arrays of a ``.npz`` or ``.pt`` file by name, float32 or whole; nothing is unpickled.

    Raises:
        InputError: a file of another kind, a damaged one, or one that holds objects.
    """
    reader = {".npz": _read_npz, ".pt": _read_pt}.get(file.suffix.lower())
    if reader is None:
        raise InputError(f"{file}: expected a .npz or .pt file, got '{file.suffix}'")
    try:
        return reader(file)
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{file}: expected tensors only, got pickled objects or other content, which is never loaded; "
            "save a tensor, a pair or a dictionary of tensors"
        ) from error
    except Exception as error:  # the parsers of damaged files raise a dozen kinds
        raise InputError(f"{file}: cannot be read ({one_line(error)}); write the file again") from error


def _read_npz(file: Path) -> dict[str, Tensor]:
    check_packing(file)
    with file.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:  # closed if it is damaged
        if isinstance(stored, np.ndarray):
            raise InputError(f"{file}: expected an archive of arrays, got a single array; use numpy.savez")
        return {name: plain_tensor(stored[name], f"'{name}'", str(file)) for name in stored.files}


def check_packing(file: Path) -> None:
    """Refuse a ``.npz`` or ``.pt`` file that would unpack to far more bytes than it has.

    Raises:
        InputError: its arrays would take too much memory.
    """
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(_unpacked_bytes(archive, member) for member in archive.infolist())
    check_unpacked(file, unpacked, "write it with numpy.savez or torch.save, which do not pack")


def _unpacked_bytes(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """Return the bytes of a member, or those of its numbers as float32 if these are more."""
    if not member.filename.endswith(".npy"):
        return member.file_size
    with archive.open(member) as stream:
        is_first = np.lib.format.read_magic(stream) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
        return max(member.file_size, FLOAT_BYTES * math.prod(read(stream)[0]))


def check_unpacked(file: Path, unpacked: int, advice: str) -> None:
    """Refuse a file that would unpack to more than 1 GiB and more than 100 times its own size.

    Args:
        file: the file.
        unpacked: the bytes to which it would unpack.
        advice: the end of the message.

    Raises:
        InputError: both bounds are exceeded.
    """
    if unpacked > max(MOST_UNPACKED_BYTES, MOST_PACKING * file.stat().st_size):
        raise InputError(
            f"{file}: {file.stat().st_size:,} bytes would unpack to {unpacked:,}, more than "
            f"{MOST_PACKING} times as many; {advice}"
        )


def _read_pt(file: Path) -> dict[str, Tensor]:
    check_packing(file)
    with warnings.catch_warnings(action="ignore"):  # torch warns of kinds of tensors that are refused below
        stored: Any = torch.load(file, map_location="cpu", weights_only=True)
    if isinstance(stored, Tensor):
        stored = {"x": stored}
    if isinstance(stored, (tuple, list)) and len(stored) == 2:
        stored = {"x": stored[0], "cond": stored[1]}
    if not isinstance(stored, Mapping):
        raise InputError(f"{file}: expected a tensor, a pair or a dictionary, got {type(stored).__name__}")
    flat = {str(name): value for name, value in stored.items()}
    for name, parts in stored.items():
        if isinstance(parts, Mapping):
            flat |= {f"{name}.{part}": value for part, value in parts.items()}
    held = {name: value for name, value in flat.items() if is_array(value)}
    return {name: plain_tensor(value, f"'{name}'", str(file)) for name, value in held.items()}
