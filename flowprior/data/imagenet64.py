"""ImageNet at 64 × 64 pixels (Chrabaszcz et al. 2017, arXiv 1707.08819), from its official batches."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowprior.conditions import Condition
from flowprior.data.arrays import MappedRows, stamps_digest
from flowprior.data.base import DATA, Data, Split
from flowprior.data.splits import check_split
from flowprior.errors import DataNotFoundError, FlowpriorError, InputError
from flowprior.registry import check_count
from flowprior.storage import cache_folder, one_line, settings_digest
from flowprior.storage.reading import read_lines
from flowprior.storage.user_paths import data_folder
from flowprior.storage.writing import replacing

SIDE = 64
NUMBERS = 3 * SIDE * SIDE
CLASSES = 1000
CLASS_NAMES = "map_clsloc.txt"
"""The official list of the classes, lines ``n02119789 1 kit_fox``."""


class ImageNet64(Data):
    """Pictures [3, 64, 64] in [-1, 1] of ``.npz`` batches, of which only the rows of a batch are in memory.

    The arrays are copied once, as ``.npy`` files, into the library's cache (``$FLOWPRIOR_CACHE``), 12 KiB a
    picture, and memory-mapped there. Labels are held, eight bytes a picture.

    Args:
        files: one batch each, with ``data`` uint8 ``[N, 12288]`` (red, green, blue, row by row) and
            ``labels`` of 1 to 1000 ``[N]``; ``mean`` is left alone.
        class_names: 1,000 of them, or None.

    Raises:
        InputError: no such arrays, labels outside 1 to 1000, or what cannot be read.
    """

    is_image = True
    event_shape = torch.Size([3, SIDE, SIDE])
    condition = Condition("labels", CLASSES)

    def __init__(self, files: list[Path], *, class_names: list[str] | None = None) -> None:
        self.name = "imagenet64"
        self.files = files
        self.class_names = class_names
        labels = [_labels(file) for file in files]
        self._labels = torch.cat(labels)
        self._pixels = MappedRows([_pixels(file, len(own)) for file, own in zip(files, labels, strict=True)])

    def __len__(self) -> int:
        return len(self._labels)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures ``[B, 3, 64, 64]`` and labels of 0 to 999 ``[B]``."""
        x = self._pixels.gather(indices).div_(127.5).sub_(1)
        return x.view(-1, *self.event_shape), self._labels[indices]

    def conditions(self, indices: Tensor) -> Tensor:
        """Labels of 0 to 999 ``[B]``; no picture is read."""
        return self._labels[indices]

    def fingerprint(self) -> str:
        """sha256 over names, sizes and times of change of the files."""
        return stamps_digest(self.files)


@DATA.register("imagenet64")
def imagenet64(split: Split = "train", path: str | None = None, batches: int = 10) -> ImageNet64:
    """ImageNet, 1,281,167 + 50,000 pictures [3, 64, 64] in [-1, 1], 1,000 classes (official .npz batches).

    Args:
        split: ``"train"``, or ``"test"`` for the validation pictures, ``val_data.npz``.
        path: folder of ``train_data_batch_1.npz`` to ``train_data_batch_10.npz`` and ``val_data.npz``; with
            the official ``map_clsloc.txt`` in it, classes have names. None takes
            ``$FLOWPRIOR_DATA/imagenet64``.
        batches: how many training batches there are.

    Raises:
        DataNotFoundError: a file is missing; the message says what to put where.
        InputError: a file is corrupt, or another one than the official.
        OptionError: impossible options.
    """
    check_split(split)
    check_count("imagenet64", "batches", batches)
    root = data_folder(path, "imagenet64", "ImageNet's batches at 64 pixels", _advice("one folder"))
    numbered = [f"train_data_batch_{number}.npz" for number in range(1, batches + 1)]
    files = [root / name for name in (numbered if split == "train" else ["val_data.npz"])]
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        raise DataNotFoundError(f"imagenet64: no {missing}; {_advice(str(root))}")
    names = root / CLASS_NAMES
    return ImageNet64(files, class_names=_class_names(names) if names.is_file() else None)


def _advice(place: str) -> str:
    archives = "Imagenet64_train_part1_npz.zip, Imagenet64_train_part2_npz.zip and Imagenet64_val_npz.zip"
    return f"unpack {archives} of image-net.org in {place}"


def _mapped(file: Path, name: str) -> np.ndarray:
    """The array ``name`` of a ``.npz`` file as a memory map of its ``.npy`` in the cache.

    The ``.npy`` is written where it is not there yet, under a digest of path, size and time of the ``.npz``.
    Nothing is unpickled.

    Raises:
        InputError: no ``.npz``, no such array, a damaged one, or one of objects.
        CheckpointError: the cache cannot be written.
    """
    status = file.stat()
    key = {"path": str(file.resolve()), "size": status.st_size, "time": status.st_mtime_ns, "name": name}
    stored = cache_folder() / f"imagenet64-{settings_digest(key)[:24]}.npy"
    try:
        if not stored.is_file():
            with (
                zipfile.ZipFile(file) as archive,
                archive.open(f"{name}.npy") as member,
                replacing(stored) as temporary,
                temporary.open("wb") as copy,
            ):
                shutil.copyfileobj(member, copy)
        return np.lib.format.open_memmap(stored, mode="r")
    except FlowpriorError:
        raise
    except Exception as error:  # the parsers of damaged files raise a dozen kinds
        raise InputError(
            f"{file}: the array '{name}' cannot be read ({one_line(error)}); download the file again"
        ) from error


def _labels(file: Path) -> Tensor:
    """Labels int64 ``[N]`` of 0 to 999, by those of 1 to 1000 in the file."""
    stored = _mapped(file, "labels")
    if stored.dtype.kind not in "iu" or stored.ndim != 1 or not len(stored):
        raise InputError(
            f"{file}: expected 'labels' as whole numbers [N], one for each picture, got {stored.dtype} "
            f"{list(stored.shape)}; download the file again"
        )
    labels = torch.from_numpy(stored.astype(np.int64))
    if not 1 <= int(labels.min()) <= int(labels.max()) <= CLASSES:
        bad = int(labels[(labels < 1) | (labels > CLASSES)][0])
        raise InputError(f"{file}: expected labels of 1 to {CLASSES}, got {bad}; download the file again")
    return labels - 1


def _pixels(file: Path, count: int) -> np.ndarray:
    """Pictures uint8 ``[count, 12288]``."""
    pixels = _mapped(file, "data")
    if pixels.dtype != np.uint8 or pixels.shape != (count, NUMBERS):
        raise InputError(
            f"{file}: expected 'data' as uint8 [{count}, {NUMBERS}], a picture of {SIDE} x {SIDE} pixels for "
            f"each label, got {pixels.dtype} {list(pixels.shape)}; take the batches of Imagenet64"
        )
    return pixels


def _class_names(file: Path) -> list[str]:
    entries = [line.split() for line in read_lines(file) if line.strip()]
    numbered = {entry[1]: entry[2].replace("_", " ") for entry in entries if len(entry) == 3}
    numbers = [str(number) for number in range(1, CLASSES + 1)]
    if set(numbered) != set(numbers):
        raise InputError(
            f"{file}: expected {CLASSES:,} lines such as 'n02119789 1 kit_fox', got {len(numbered)} "
            "numbers of classes; download it again, or remove it"
        )
    return [numbered[number] for number in numbers]
