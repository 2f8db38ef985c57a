"""The data set of memory-mapped ``.npy`` arrays, of which only a batch is in memory.

The files of data samples, and those of their labels or embeddings, are found by their names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowprior.conditions import Condition
from flowprior.data.arrays import MappedRows, check_floating, mapped_rows, stamps_digest
from flowprior.data.base import DATA, Split
from flowprior.data.folder import own_split
from flowprior.data.splits import split_indices
from flowprior.errors import DataNotFoundError, InputError
from flowprior.storage.user_paths import existing_path, is_there
from flowprior.streams.data import Data
from flowprior.streams.user_tensors import PICTURE_CHANNELS, check_labels

EVENTS = ("latents", "x")
"""The names of files of data samples; a number may follow, as in ``latents-003.npy``."""
CONDITIONS = ("labels", "cond", "y")
"""The names of files of conditions; a number may follow."""


@DATA.register("latents")
def latents(
    split: Split = "train",
    path: str | None = None,
    labels: bool = True,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> LatentRows:
    """Memory-mapped .npy arrays, latents or images as bytes, one row for each data sample.

    A folder holds ``latents.npy`` (or ``x.npy``) and ``labels.npy`` (or ``cond.npy``, ``y.npy``): labels
    ``[N]`` of whole numbers, or embeddings ``[N, E]``. Large sets may be in several files,
    ``latents-000.npy`` with ``labels-000.npy``. Data samples are ``[N, *event]`` in float16, bfloat16 (as
    ``ml_dtypes`` stores it), float32 or float64, or images ``[N, channels, height, width]`` in uint8, which
    come out in [-1, 1].

    Args:
        split: ``"train"`` or ``"test"``. A folder with sub-folders ``train`` and ``test`` (or ``val``,
            ``validation``) has its own splits; any other is divided by ``test_fraction``, each label
            separately.
        path: the folder, or one ``.npy`` file.
        labels: False for data without a condition, whatever files are beside it.
        test_fraction: the fraction of rows in the test split, in [0, 1); 0 puts all into both splits.
        seed: the seed of the split.

    Raises:
        DataNotFoundError: no such files.
        InputError: an array that cannot be read, or has another shape or type; labels out of range.
        OptionError: impossible options.
    """
    root = existing_path(path, "latents", ".npy file, or folder of them")
    own = own_split(root, split)
    files = latent_files(own or root, labels)
    known = files.labels if own is None else latent_files(root / "train", labels).labels
    rows = torch.arange(len(files.events))
    if own is None:
        rows = split_indices(len(rows), split, test_fraction=test_fraction, seed=seed, labels=files.labels)
    classes = 0 if known is None else int(known.max()) + 1
    if files.labels is not None and int(files.labels.max()) >= classes:
        raise InputError(
            f"{own}: expected labels 0..{classes - 1} as in {root / 'train'}, got {int(files.labels.max())}"
        )
    return LatentRows(files, rows, classes, str(root))


class LatentRows(Data):
    """The rows of memory-mapped arrays, read as float32 whatever their stored type.

    Labels are kept in memory, eight bytes a row; embeddings are memory-mapped, too.

    Args:
        files: the arrays of data samples and their conditions.
        rows: the numbers of the rows to take, int64 ``[N]``.
        classes: the number of classes if the condition is a label, else 0.
        name: the name for messages and tables.
    """

    def __init__(self, files: LatentFiles, rows: Tensor, classes: int, name: str) -> None:
        self.name, self.files, self._rows = name, files, rows
        self.event_shape = torch.Size(files.events.arrays[0].shape[1:])
        self.is_image = files.events.arrays[0].dtype == np.uint8
        self.condition = Condition("labels", classes) if files.labels is not None else Condition()
        if files.embeddings is not None:
            self.condition = Condition("embeddings", files.embeddings.arrays[0].shape[1])

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the data samples ``[B, *event]`` and conditions of these indices.

        Raises:
            InputError: a row holds NaN or infinite numbers.
        """
        x = self._finite(self.files.events, indices, "it")
        return x / 127.5 - 1 if self.is_image else x, self.conditions(indices)

    def conditions(self, indices: Tensor) -> Tensor | None:
        """Return labels ``[B]`` or embeddings ``[B, E]``, without a look at the data samples."""
        if self.files.embeddings is not None:
            return self._finite(self.files.embeddings, indices, "its embedding")
        return None if self.files.labels is None else self.files.labels[self._rows[indices]]

    def _finite(self, stored: MappedRows, indices: Tensor, what: str) -> Tensor:
        """Read rows ``[B, …]`` of data samples or embeddings and check that they are finite."""
        rows = self._rows[indices]
        found = stored.gather(rows)
        bad = ~torch.isfinite(found).flatten(1).all(1)
        if bool(bad.any()):
            part, row = self.files.events.place(rows[bad][:1])
            raise InputError(
                f"{self.files.paths[int(part)]}, row {int(row)}: {what} holds NaN or infinite numbers; "
                "repair or remove it"
            )
        return found

    def fingerprint(self) -> str:
        """Return the sha256 over the names, sizes and modification times of the files, and over the rows."""
        return stamps_digest(self.files.paths, self._rows.numpy().tobytes())


@dataclass(frozen=True)
class LatentFiles:
    """The memory-mapped arrays of a folder, in the order of their names.

    Attributes:
        paths: the files of data samples.
        events: the data samples ``[N, *event]``.
        labels: int64 ``[N]``, or None.
        embeddings: ``[N, E]``, or None.
    """

    paths: list[Path]
    events: MappedRows
    labels: Tensor | None = None
    embeddings: MappedRows | None = None


def latent_files(place: Path, labels: bool) -> LatentFiles:
    """Find and map the arrays of a folder or of one file, and unless ``labels`` is False their conditions.

    Raises:
        DataNotFoundError: no file of data samples, or no file of labels.
        InputError: arrays that cannot be read or do not fit together.
    """
    paths = _events_in(place) if place.is_dir() else [place]
    events = [mapped_rows(path) for path in paths]
    for path, array in zip(paths, events, strict=True):
        _check_events(path, array, events[0])
    beside = [file for path in paths if (file := _beside(path))] if labels else []
    if not beside:
        return LatentFiles(paths, MappedRows(events))
    if len(beside) < len(paths):
        raise DataNotFoundError(
            f"latents: no labels beside {len(paths) - len(beside)} of {len(paths)} files in {place}; add them"
        )
    conditions = [_condition(file, len(array)) for file, array in zip(beside, events, strict=True)]
    if len({(array.dtype.kind in "iu", array.shape[1:]) for array in conditions}) > 1:
        raise InputError(f"{place}: expected conditions of one kind and size in all files; write them again")
    if conditions[0].dtype.kind not in "iu":
        return LatentFiles(paths, MappedRows(events), embeddings=MappedRows(conditions))
    known = torch.from_numpy(np.concatenate(conditions).astype(np.int64))
    check_labels(known, str(place))
    return LatentFiles(paths, MappedRows(events), labels=known)


def _events_in(place: Path) -> list[Path]:
    for name in EVENTS:
        whole = place / f"{name}.npy"
        found = [whole] if is_there(whole, "is_file") else sorted(place.glob(f"{name}-*.npy"))
        if found:
            return found
    raise DataNotFoundError(
        f"latents: no {' or '.join(f'{name}.npy' for name in EVENTS)} in {place}, and no latents-000.npy; "
        "pass path= the file itself"
    )


def _check_events(path: Path, array: np.ndarray, first: np.ndarray) -> None:
    is_image = array.dtype == np.uint8 and array.ndim == 4 and array.shape[1] in PICTURE_CHANNELS
    if not is_image:
        check_floating(array.dtype, str(path))
    if array.ndim < 2 or not array.size:
        raise InputError(f"{path}: expected data samples [N, *event] with N >= 1, got {list(array.shape)}")
    if array.shape[1:] != first.shape[1:] or is_image != (first.dtype == np.uint8):
        raise InputError(
            f"{path}: expected data samples {list(first.shape[1:])} as in the first file, got "
            f"{array.dtype} {list(array.shape[1:])}"
        )


def _beside(path: Path) -> Path | None:
    """Return the file of conditions whose name fits that of a file of data samples, or None."""
    named = next((name for name in EVENTS if path.stem == name or path.stem.startswith(f"{name}-")), None)
    ending = "" if named is None else path.stem.removeprefix(named)
    beside = (path.with_name(f"{name}{ending}.npy") for name in CONDITIONS)
    return next((file for file in beside if is_there(file, "is_file") and file != path), None)


def _condition(file: Path, count: int) -> np.ndarray:
    """Map a file of labels ``[count]`` of whole numbers, or of embeddings ``[count, E]``."""
    array = mapped_rows(file)
    if array.dtype.kind in "iu":
        array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
        fits = array.shape == (count,)
    else:
        check_floating(array.dtype, str(file))
        fits = array.ndim == 2 and len(array) == count and array.shape[1] > 0
    if not fits:
        raise InputError(
            f"{file}: expected labels [{count}] of whole numbers or embeddings [{count}, E], got "
            f"{array.dtype} {list(array.shape)}; pass labels=false to leave them out"
        )
    return array
