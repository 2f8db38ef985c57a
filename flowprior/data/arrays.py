"""The arrays in files: the data set of ``.npz`` and ``.pt`` files, and rows of memory-mapped ``.npy`` files.

All numbers are read as float32, including bfloat16 as ``ml_dtypes`` stores it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowprior.data.base import DATA, Split
from flowprior.data.picture_files import NamedBytes
from flowprior.data.splits import split_indices
from flowprior.errors import InputError
from flowprior.storage.user_paths import existing_file
from flowprior.storage.writing import one_line
from flowprior.streams.array_files import condition_in, read_arrays
from flowprior.streams.data import TensorData
from flowprior.streams.user_tensors import tensor_data

BFLOAT16 = np.dtype("V2")
"""The type as which NumPy reads bfloat16, which it does not know: two bytes without a meaning."""


@DATA.register("arrays")
def arrays(
    split: Split = "train", path: str | None = None, test_fraction: float = 0.1, seed: int = 0
) -> TensorData:
    """Data samples and conditions from a .npz or .pt file: x, optionally cond (or y), x_test, cond_test, x0.

    The parts of a condition are separate arrays, such as ``cond.caption`` and ``cond.style`` (in the test
    split ``cond_test.caption``); the mask of token states is ``cond.mask`` or ``cond.caption.mask``. Source
    samples for the coupling ``given`` are ``x0``, in a test split of its own ``x0_test``.

    Args:
        split: ``"train"`` or ``"test"``. A file with ``x_test`` has its own test split; any other is
            divided by ``test_fraction``, each label separately.
        path: a ``.npz`` file, or a ``.pt`` file with a tensor, a pair (x, cond) or a dictionary; loaded
            without unpickling objects.
        test_fraction: the fraction of data samples in the test split, in [0, 1); 0 puts all into both splits.
        seed: another seed gives another split.

    Raises:
        DataNotFoundError: no such file.
        InputError: the file is corrupt, lacks x, or holds non-finite numbers.
    """
    file = existing_file(path, "arrays", ".npz or .pt file")
    stored = read_arrays(file)
    if "x" not in stored:
        raise InputError(f"{file}: expected an array x, got {', '.join(sorted(stored)) or 'nothing'}")
    whole = tensor_data(stored["x"], condition_in(stored, str(file)), stored.get("x0"), name=str(file))
    if "x_test" in stored:
        return whole if split == "train" else _own_test_split(stored, whole)
    labels = whole.cond if isinstance(whole.cond, Tensor) and whole.condition.kind == "labels" else None
    chosen = split_indices(len(whole), split, test_fraction=test_fraction, seed=seed, labels=labels)
    x, cond = whole.batch(chosen)
    condition, x0 = whole.condition, whole.sources(chosen)
    return TensorData(x, cond, x0, name=str(file), is_image=whole.is_image, condition=condition)


def _own_test_split(stored: Mapping[str, Tensor], train: TensorData) -> TensorData:
    """Return the test split of a file, which may not show every label of the training split."""
    cond, x0 = condition_in(stored, train.name, "_test"), stored.get("x0_test")
    test = tensor_data(stored["x_test"], cond, x0, name=train.name)
    if test.event_shape != train.event_shape:
        raise InputError(
            f"{train.name}: expected x_test like x with data samples {list(train.event_shape)}, got "
            f"{list(test.event_shape)}"
        )
    cond = train.condition.check(test.cond, f"{train.name}, x_test")
    condition, is_image = train.condition, test.is_image
    return TensorData(test.x, cond, test.x0, name=train.name, is_image=is_image, condition=condition)


def stamps_digest(files: Sequence[Path], start: bytes = b"") -> str:
    """Return the sha256 over ``start`` and the names, sizes and modification times of files."""
    digest = hashlib.sha256(start)
    for file in files:
        status = file.stat()
        stamp = f"{file.name}\0{status.st_size} {status.st_mtime_ns}\0"
        digest.update(stamp.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def mapped_rows(file: Path) -> np.ndarray:
    """Return the array of a ``.npy`` file as a read-only memory map; nothing is unpickled.

    Raises:
        InputError: the file cannot be read, is truncated, or is no array.
    """
    try:
        return np.lib.format.open_memmap(file, mode="r")
    except Exception as error:  # numpy parses a header as Python's source, which fails in a dozen ways
        raise InputError(
            f"{file}: cannot be read as .npy ({one_line(error)}); write or download it again"
        ) from error


class MappedRows:
    """The rows ``[N_i, *row]`` of several memory-mapped arrays, numbered as one array.

    The operating system reads rows when they are asked for, and frees them when memory is short.

    Args:
        arrays: one array or more, in the order of their rows.
    """

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self.arrays = arrays
        lengths = torch.tensor([len(array) for array in arrays])
        self._ends = lengths.cumsum(0)
        self._starts = self._ends - lengths

    def __len__(self) -> int:
        return int(self._ends[-1])

    def place(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the number of the array, and the row in it, of rows int64 ``[B]`` of all arrays."""
        parts = torch.searchsorted(self._ends, rows, right=True)
        return parts, rows - self._starts[parts]

    def gather(self, rows: Tensor) -> Tensor:
        """Return rows float32 ``[B, *row]``; each array is read in the order of its file."""
        parts, places = self.place(rows)
        found = torch.empty(len(rows), *self.arrays[0].shape[1:])
        for part in parts.unique().tolist():
            of_part = (parts == part).nonzero().flatten()
            of_part = of_part[places[of_part].argsort()]
            found[of_part] = as_float32(self.arrays[part][places[of_part].numpy()])
        return found


def array_of_bytes(content: NamedBytes, expected: torch.Size | None) -> Tensor:
    """Decode a small ``.npy`` to float32 ``[*event]``.

    Raises:
        InputError: no ``.npy``, a truncated one, or an array that :func:`event_of_array` refuses.
    """
    try:
        stored = np.lib.format.read_array(content, allow_pickle=False)
    except Exception as error:  # as above; a header that promises too much is a MemoryError
        raise InputError(f"{content}: cannot be read as .npy ({one_line(error)})") from error
    return event_of_array(stored, expected, str(content))


def event_of_array(stored: np.ndarray, expected: torch.Size | None, owner: str) -> Tensor:
    """Return a stored array as one data sample, float32 ``[*event]``.

    Args:
        stored: the array.
        expected: the shape of the first data sample; None for the first one itself.
        owner: the file and row, for messages.

    Raises:
        InputError: an empty array, a single number, another shape, or no floating-point numbers.
    """
    check_floating(stored.dtype, owner)
    shape = stored.shape
    if not stored.size or not shape or (expected is not None and shape != tuple(expected)):
        wanted = "an array of numbers" if expected is None else f"the shape {list(expected)} of the first"
        raise InputError(f"{owner}: expected {wanted}, got {list(shape)}; repair or remove it")
    return as_float32(stored)


def as_float32(stored: np.ndarray) -> Tensor:
    """Return a float32 copy of stored numbers as a tensor of their shape."""
    if stored.dtype == BFLOAT16:
        bits = np.ascontiguousarray(stored).view(np.int16)
        return torch.from_numpy(bits.copy()).view(torch.bfloat16).float()
    with np.errstate(over="ignore"):  # A number that is too large becomes infinite and is refused later.
        return torch.from_numpy(stored.astype(np.float32, order="C"))


def check_floating(dtype: np.dtype, owner: str) -> None:
    """Check that data samples are stored as floating-point numbers.

    Raises:
        InputError: whole numbers, texts, or structures.
    """
    if dtype.kind == "f" or dtype == BFLOAT16:
        return
    advice = "store float16, float32 or bfloat16"
    if dtype.kind in "iu" and dtype.itemsize == 2:
        advice += "; store the bits of bfloat16 as array.view('V2')"
    raise InputError(f"{owner}: expected floating-point numbers, got {dtype}; {advice}")
