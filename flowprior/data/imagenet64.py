"""The data set of ImageNet at 64 × 64 pixels (Chrabaszcz et al. 2017, arXiv 1707.08819)."""

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
from flowprior.registry.options import check_count
from flowprior.storage.digests import settings_digest
from flowprior.storage.reading import read_lines
from flowprior.storage.user_paths import cache_folder, data_folder
from flowprior.storage.writing import one_line, replacing

SIDE = 64
"""The side of an image, in pixels."""
NUMBERS = 3 * SIDE * SIDE
"""The number of bytes of an image."""
CLASSES = 1000
"""The number of classes."""
CLASS_NAMES = "map_clsloc.txt"
"""The file of the official list of classes, with lines such as ``n02119789 1 kit_fox``."""


class ImageNet64(Data):
    """The images [3, 64, 64] in [-1, 1] of ``.npz`` files, of which only a batch is in memory.

    The arrays are copied once, as ``.npy`` files, into the library's cache (``$FLOWPRIOR_CACHE``), 12 KiB a
    image, and memory-mapped there. Labels are held, eight bytes an image.

    Args:
        files: the official batches, each with ``data`` uint8 ``[N, 12288]`` (red, green, blue, row by row)
            and ``labels`` of 1 to 1000 ``[N]``; ``mean`` is not read.
        class_names: the names of the 1,000 classes, or None.

    Raises:
        InputError: arrays that are missing, damaged or of another shape, or labels outside 1 to 1000.
    """

    is_image = True
    event_shape = torch.Size([3, SIDE, SIDE])
    condition = Condition("labels", CLASSES)

    def __init__(self, files: list[Path], *, class_names: list[str] | None = None) -> None:
        self.name = "imagenet64"
        self.files = files
        self.class_names = class_names
        labels, pixels = zip(*map(_labels_and_pixels, files), strict=True)
        self._labels = torch.cat(labels)
        self._pixels = MappedRows(pixels)

    def __len__(self) -> int:
        return len(self._labels)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return images ``[B, 3, 64, 64]`` and labels of 0 to 999 ``[B]``."""
        x = self._pixels.gather(indices).div_(127.5).sub_(1)
        return x.view(-1, *self.event_shape), self._labels[indices]

    def conditions(self, indices: Tensor) -> Tensor:
        """Return labels of 0 to 999 ``[B]``, without a look at the images."""
        return self._labels[indices]

    def fingerprint(self) -> str:
        """Return the sha256 over the names, sizes and modification times of the files."""
        return stamps_digest(self.files)


@DATA.register("imagenet64")
def imagenet64(split: Split = "train", path: str | None = None, batches: int = 10) -> ImageNet64:
    """ImageNet, 1,281,167 + 50,000 images [3, 64, 64] in [-1, 1], 1,000 classes (official .npz batches).

    Args:
        split: ``"train"``, or ``"test"`` for the validation images, ``val_data.npz``.
        path: folder of ``train_data_batch_1.npz`` to ``train_data_batch_10.npz`` and ``val_data.npz``; with
            the official ``map_clsloc.txt`` in it, classes have names. None takes
            ``$FLOWPRIOR_DATA/imagenet64``.
        batches: the number of training batches, 10 in the official data set.

    Raises:
        DataNotFoundError: a file is missing; the message names the archives to unpack.
        InputError: a file is corrupt, or not an official one.
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
    """Return the array ``name`` of a ``.npz`` file as a memory map of a copy in the cache.

    The copy, a ``.npy`` file, is written once and named by a digest of the path, size and modification
    time of the ``.npz``. Nothing is unpickled.

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


def _labels_and_pixels(file: Path) -> tuple[Tensor, np.ndarray]:
    """Return the labels int64 ``[N]`` of 0 to 999 and the images uint8 ``[N, 12288]`` of a batch."""
    stored, pixels = _mapped(file, "labels"), _mapped(file, "data")
    types_fit = stored.dtype.kind in "iu" and pixels.dtype == np.uint8
    if not types_fit or not stored.size or (*stored.shape, NUMBERS) != pixels.shape:
        raise InputError(
            f"{file}: expected 'labels' as whole numbers [N] and 'data' as uint8 [N, {NUMBERS}], images of "
            f"{SIDE} x {SIDE} pixels, got {stored.dtype} {list(stored.shape)} and {pixels.dtype} "
            f"{list(pixels.shape)}; download the file again"
        )
    labels = torch.from_numpy(stored.astype(np.int64))
    outside = labels[(labels < 1) | (labels > CLASSES)].tolist()
    if outside:
        raise InputError(
            f"{file}: expected labels of 1 to {CLASSES}, got {outside[0]}; download the file again"
        )
    return labels - 1, pixels


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
