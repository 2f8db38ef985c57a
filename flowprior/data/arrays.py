"""Arrays on disk: ``.npz`` of numpy and ``.pt`` of torch."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowprior.data.base import DATA, Split, TensorData
from flowprior.data.locations import existing_file
from flowprior.data.splits import check_split, split_indices
from flowprior.data.user_tensors import is_array, plain_tensor, tensor_data
from flowprior.errors import InputError

CONDITION_KEYS = ("cond", "y", "labels")
MOST_UNPACKED_BYTES = 1 << 30
MOST_PACKING = 100
"""A .npz that unpacks to more than 1 GiB and to more than 100 times its own size is refused unread."""


@DATA.register("arrays")
def arrays(
    split: Split = "train", path: str | None = None, test_fraction: float = 0.1, seed: int = 0
) -> TensorData:
    """Events and conditions from a .npz or .pt file: x, optionally cond (or y), x_test and cond_test.

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
    whole = tensor_data(stored["x"], _condition(stored), name=str(file))
    if "x_test" in stored:
        return whole if split == "train" else _own_test_split(stored, whole)
    labels = whole.cond if whole.condition.kind == "labels" else None
    chosen = split_indices(len(whole), split, test_fraction=test_fraction, seed=seed, labels=labels)
    x, cond = whole.batch(chosen)
    classes = whole.condition.size if labels is not None else None
    return TensorData(x, cond, name=str(file), classes=classes, is_image=whole.is_image)


def _own_test_split(stored: Mapping[str, Tensor], train: TensorData) -> TensorData:
    classes = train.condition.size if train.condition.kind == "labels" else None
    test = tensor_data(stored["x_test"], _condition(stored, "_test"), name=train.name, classes=classes)
    if test.event_shape != train.event_shape or test.condition != train.condition:
        raise InputError(
            f"{train.name}: expected x_test and its condition like x's {list(train.event_shape)} and "
            f"{train.condition.describe()}, got {list(test.event_shape)} and {test.condition.describe()}"
        )
    return test


def _condition(stored: Mapping[str, Tensor], ending: str = "") -> Tensor | None:
    return next((stored[key + ending] for key in CONDITION_KEYS if key + ending in stored), None)


def _read(file: Path) -> dict[str, Tensor]:
    readers = {".npz": _read_npz, ".pt": _read_pt}
    reader = readers.get(file.suffix.lower())
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
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{file}: cannot be read ({reason}); write the file again") from error


def _read_npz(file: Path) -> dict[str, Tensor]:
    check_packing(file)
    with np.load(file, allow_pickle=False) as stored:
        if isinstance(stored, np.ndarray):
            raise InputError(f"{file}: expected an archive of arrays, got a single array; use numpy.savez")
        return {name: plain_tensor(stored[name], f"'{name}'", str(file)) for name in stored.files}


def check_packing(file: Path) -> None:
    """Refuse an archive that a few bytes blow up into the whole memory."""
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > max(MOST_UNPACKED_BYTES, MOST_PACKING * file.stat().st_size):
        raise InputError(
            f"{file}: {file.stat().st_size:,} bytes would unpack to {unpacked:,}, more than "
            f"{MOST_PACKING} times as many; write it with numpy.savez, which does not pack"
        )


def _read_pt(file: Path) -> dict[str, Tensor]:
    stored: Any = torch.load(file, map_location="cpu", weights_only=True)
    if isinstance(stored, Tensor):
        stored = {"x": stored}
    if isinstance(stored, (tuple, list)) and len(stored) == 2:
        stored = {"x": stored[0], "cond": stored[1]}
    if not isinstance(stored, Mapping):
        raise InputError(f"{file}: expected a tensor, a pair or a dictionary, got {type(stored).__name__}")
    held = {str(name): value for name, value in stored.items() if is_array(value)}
    return {name: plain_tensor(value, f"'{name}'", str(file)) for name, value in held.items()}
