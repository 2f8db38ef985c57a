"""Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747) from its four original IDX files, and their reader."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowprior.data.base import DATA, Split, TensorData
from flowprior.data.splits import check_split
from flowprior.errors import DataNotFoundError, InputError

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
CLASS_NAMES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
_UNSIGNED_BYTE = 0x08
MOST_BYTES = 2 << 30
"""Most data that a file may hold, unpacked."""
_STEMS = {"train": "train", "test": "t10k"}


@DATA.register("fashion-mnist", aliases=["fashion_mnist", "fmnist"])
def fashion_mnist(split: Split = "train", root: str | None = None) -> TensorData:
    """Fashion-MNIST, 60,000 + 10,000 pictures [1, 28, 28] in [-1, 1], 10 balanced classes.

    Args:
        split: ``"train"`` or ``"test"``, the original ones.
        root: folder of the four IDX files (``.gz`` or unpacked), or a torchvision root. None looks in
            ``$FLOWPRIOR_DATA`` and in the folder of Debian's ``dataset-fashion-mnist``.

    Raises:
        DataNotFoundError: no such files; the message says what brings them.
        InputError: a file is truncated or corrupt, or pictures and labels do not match.
    """
    check_split(split)
    images_file, labels_file = _find_files(_STEMS[split], root)
    images, labels = read_idx(images_file), read_idx(labels_file)
    if images.dim() != 3 or labels.shape != images.shape[:1]:
        raise InputError(
            f"{images_file}: expected pictures [N, height, width] with as many labels in {labels_file.name}, "
            f"got {list(images.shape)} and {list(labels.shape)}"
        )
    if len(labels) and int(labels.max()) >= len(CLASS_NAMES):
        raise InputError(f"{labels_file}: expected labels 0..9, got {int(labels.max())}")
    x = images.unsqueeze(1).float().div_(127.5).sub_(1)
    return TensorData(
        x, labels.long(), name="fashion-mnist", classes=10, class_names=list(CLASS_NAMES), is_image=True
    )


def _find_files(stem: str, root: str | None) -> tuple[Path, Path]:
    """Pictures and labels file of one split, from the first folder that holds both."""
    folders = _folders(root)
    for folder in folders:
        images = _plain_or_gz(folder / f"{stem}-images-idx3-ubyte")
        labels = _plain_or_gz(folder / f"{stem}-labels-idx1-ubyte")
        if images and labels:
            return images, labels
    raise DataNotFoundError(
        f"fashion-mnist: no {stem}-images-idx3-ubyte[.gz] and {stem}-labels-idx1-ubyte[.gz] in "
        f"{', '.join(map(str, folders))}; install the Debian package dataset-fashion-mnist, or pass "
        "root= the folder that holds them (or a torchvision root)"
    )


def _folders(root: str | None) -> list[Path]:
    if root is not None:
        bases = [Path(str(root)).expanduser()]
    else:
        named = os.environ.get("FLOWPRIOR_DATA")
        bases = [Path(named).expanduser()] if named else []
    folders = [folder for base in bases for folder in _layouts(base)]
    return folders if root is not None else [*folders, DEBIAN_FOLDER]


def _layouts(base: Path) -> list[Path]:
    return [base, base / "fashion-mnist", base / "FashionMNIST" / "raw"]


def _plain_or_gz(path: Path) -> Path | None:
    packed = path.with_name(path.name + ".gz")
    return next((candidate for candidate in (path, packed) if candidate.is_file()), None)


# -- IDX files (LeCun, https://yann.lecun.org/exdb/mnist), the container of MNIST and Fashion-MNIST ------


def read_idx(path: Path) -> Tensor:
    """Read an IDX file of unsigned bytes, plain or ``.gz``, as a uint8 tensor of the stored shape.

    Never more is read, or unpacked, than the header says.

    Raises:
        InputError: the file is not IDX, holds another type or over 2 GiB, or is truncated; it is named.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            shape = _read_shape(file, path)
            content = file.read(math.prod(shape) + 1)
            more = len(file.read(1 << 16)) if len(content) > math.prod(shape) else 0
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error}); install or unpack it again") from error
    if len(content) != math.prod(shape):
        raise InputError(
            f"{path}: expected {math.prod(shape)} bytes for shape {shape}, got {len(content) + more}"
            f"{' or more' if more == 1 << 16 else ''}; install or unpack the file again"
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8).reshape(shape).copy())


def _read_shape(file: BufferedIOBase, path: Path) -> list[int]:
    """The shape that the header says; the data follow."""
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0":
        raise InputError(f"{path}: expected an IDX file, got other content; install or unpack it again")
    kind, dimensions = start[2], start[3]
    if kind != _UNSIGNED_BYTE:
        raise InputError(f"{path}: expected IDX of unsigned bytes (type 0x08), got type {kind:#04x}")
    header = file.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise InputError(f"{path}: the IDX header is truncated; install or unpack the file again")
    shape = np.frombuffer(header, ">u4").tolist()
    if math.prod(shape) > MOST_BYTES:
        raise InputError(
            f"{path}: expected at most {MOST_BYTES:,} bytes, got shape {shape}; use a smaller file"
        )
    return shape
