"""Arrays on disk: the data set of ``.npz`` and ``.pt`` files, and rows of ``.npy``, mapped or in bytes.

Numbers come out as float32, also those of bfloat16 as ``ml_dtypes`` stores it.
"""

from __future__ import annotations

import hashlib
import math
import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowprior.conditions import Parts, value_of_tensors
from flowprior.data.base import DATA, Split
from flowprior.data.picture_files import NamedBytes
from flowprior.data.splits import check_split, split_indices
from flowprior.errors import InputError
from flowprior.storage import existing_file, one_line
from flowprior.streams.data import TensorData
from flowprior.streams.user_tensors import is_array, plain_tensor, tensor_data

MOST_UNPACKED_BYTES = 1 << 30
MOST_PACKING = 100
"""A file that unpacks to more than 1 GiB and to more than 100 times its own size is refused unread."""
FLOAT_BYTES = 4
"""Bytes of a number after the conversion to float32."""
BFLOAT16 = np.dtype("V2")
"""The type that NumPy reads bfloat16 as: it has no such type, and stores two bytes without a meaning."""


@DATA.register("arrays")
def arrays(
    split: Split = "train", path: str | None = None, test_fraction: float = 0.1, seed: int = 0
) -> TensorData:
    """Events and conditions from a .npz or .pt file: x, optionally cond (or y), x_test and cond_test.

    Parts of a condition are arrays of their own, ``cond.caption`` and ``cond.style`` (``cond_test.caption``
    of the test split); token states have their mask beside them, ``cond.mask`` or ``cond.caption.mask``.

    Args:
        split: ``"train"`` or ``"test"``. A file with ``x_test`` has its own test split; any other is
            divided by ``test_fraction``, each label on its own.
        path: a ``.npz`` file, or a ``.pt`` file with a tensor, a pair (x, cond) or a dictionary; loaded
            without unpickling objects.
        test_fraction: share of the events held out, in [0, 1); 0 puts all of them into both splits.
        seed: another seed gives another split.

    Raises:
        DataNotFoundError: no such file.
        InputError: the file is corrupt, lacks x, or holds non-finite numbers.
    """
    check_split(split)
    file = existing_file(path, "arrays", ".npz or .pt file")
    stored = _read(file)
    if "x" not in stored:
        raise InputError(f"{file}: expected an array x, got {', '.join(sorted(stored)) or 'nothing'}")
    whole = tensor_data(stored["x"], _condition(stored, str(file)), name=str(file))
    if "x_test" in stored:
        return whole if split == "train" else _own_test_split(stored, whole)
    labels = whole.cond if isinstance(whole.cond, Tensor) and whole.condition.kind == "labels" else None
    chosen = split_indices(len(whole), split, test_fraction=test_fraction, seed=seed, labels=labels)
    x, cond = whole.batch(chosen)
    return TensorData(x, cond, name=str(file), is_image=whole.is_image, condition=whole.condition)


def _own_test_split(stored: Mapping[str, Tensor], train: TensorData) -> TensorData:
    classes = train.condition.size if train.condition.kind == "labels" else None
    test = tensor_data(
        stored["x_test"], _condition(stored, train.name, "_test"), name=train.name, classes=classes
    )
    if isinstance(test.cond, Parts) and train.condition.kind == "parts":  # it may not show every label
        cond = train.condition.check(test.cond, f"{train.name}, x_test")
        test = TensorData(test.x, cond, name=train.name, is_image=test.is_image, condition=train.condition)
    if test.event_shape != train.event_shape or test.condition != train.condition:
        raise InputError(
            f"{train.name}: expected x_test and its condition like x's {list(train.event_shape)} and "
            f"{train.condition.describe()}, got {list(test.event_shape)} and {test.condition.describe()}"
        )
    return test


def _condition(stored: Mapping[str, Tensor], file: str, ending: str = "") -> Any:
    """A tensor, token states, a dictionary of parts, or None."""
    found = (value_of_tensors(stored, key + ending, file) for key in ("cond", "y", "labels"))
    return next((value for value in found if value is not None), None)


def _read(file: Path) -> dict[str, Tensor]:
    reader = {".npz": _read_npz, ".pt": _read_pt}.get(file.suffix.lower())
    if reader is None:
        raise InputError(f"{file}: expected a .npz or .pt file, got '{file.suffix}'")
    try:
        return reader(file)
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{file}: expected tensors only, got pickled objects or other content, which are never loaded; "
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
    """Refuse an archive that a few bytes blow up into the whole memory.

    Raises:
        InputError: its arrays would take too much memory.
    """
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(_unpacked_bytes(archive, member) for member in archive.infolist())
    check_unpacked(file, unpacked, "write it with numpy.savez, which does not pack")


def _unpacked_bytes(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """The bytes of a member, or those of its numbers as float32 where these are more."""
    if not member.filename.endswith(".npy"):
        return member.file_size
    with archive.open(member) as stream:
        is_first = np.lib.format.read_magic(stream) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
        return max(member.file_size, FLOAT_BYTES * math.prod(read(stream)[0]))


def check_unpacked(file: Path, unpacked: int, advice: str) -> None:
    """Refuse a file whose ``unpacked`` bytes are out of all proportion to its size.

    Raises:
        InputError: they are; the message ends with ``advice``.
    """
    if unpacked > max(MOST_UNPACKED_BYTES, MOST_PACKING * file.stat().st_size):
        raise InputError(
            f"{file}: {file.stat().st_size:,} bytes would unpack to {unpacked:,}, more than "
            f"{MOST_PACKING} times as many; {advice}"
        )


def _read_pt(file: Path) -> dict[str, Tensor]:
    with warnings.catch_warnings(action="ignore"):  # torch's, about kinds of tensors that are refused next
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


def stamps_digest(files: Sequence[Path], start: bytes = b"") -> str:
    """The sha256 over ``start``, and names, sizes and times of change of files."""
    digest = hashlib.sha256(start)
    for file in files:
        status = file.stat()
        digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


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
