"""Two small sets of pictures in memory: scikit-learn's digits, and Fashion-MNIST.

The digits are the ten-second default that needs no download. Fashion-MNIST (Xiao et al. 2017, arXiv
1708.07747) is read from its four original IDX files.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from flowprior.data.base import DATA, Split
from flowprior.data.splits import check_split, split_indices
from flowprior.errors import DataNotFoundError, InputError
from flowprior.storage.writing import one_line
from flowprior.streams.data import TensorData

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
_STEMS = {"train": "train", "test": "t10k"}


@DATA.register("digits")
def digits(split: Split = "train", test_fraction: float = 0.2, seed: int = 0) -> TensorData:
    """Handwritten digits, 1,797 pictures [1, 8, 8] in [-1, 1], 10 classes (scikit-learn).

    Args:
        split: ``"train"`` or ``"test"``; each class is divided by ``test_fraction`` on its own.
        test_fraction: share of the pictures held out, in [0, 1).
        seed: another seed gives another split.
    """
    numbers = torch.from_numpy(_read_numbers())
    x = numbers[:, :-1].float().reshape(-1, 1, 8, 8) / 8 - 1
    y = numbers[:, -1].clone()
    chosen = split_indices(len(x), split, test_fraction=test_fraction, seed=seed, labels=y)
    names = [str(digit) for digit in range(10)]
    return TensorData(x[chosen], y[chosen], name="digits", classes=10, class_names=names, is_image=True)


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
    from torchvision.datasets.mnist import read_image_file, read_label_file

    check_split(split)
    images_file, labels_file = _find_files(_STEMS[split], root)
    images, labels = _read(images_file, read_image_file), _read(labels_file, read_label_file)
    if len(labels) != len(images):
        raise InputError(
            f"{images_file}: expected pictures [N, height, width] with as many labels in {labels_file.name}, "
            f"got {list(images.shape)} and {list(labels.shape)}"
        )
    if len(labels) and int(labels.max()) >= len(CLASS_NAMES):
        raise InputError(f"{labels_file}: expected labels 0..9, got {int(labels.max())}")
    x = images.unsqueeze(1).float().div_(127.5).sub_(1)
    return TensorData(
        x, labels, name="fashion-mnist", classes=10, class_names=list(CLASS_NAMES), is_image=True
    )


def _read_numbers() -> np.ndarray:
    """Read the file of scikit-learn, whose import takes a second: 64 pixels and a label, int64 [1797, 65]."""
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise DataNotFoundError(
            "digits: expected scikit-learn, which holds the file; pip install scikit-learn"
        )
    with gzip.open(Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        return np.loadtxt(file, delimiter=",", dtype=np.int64)


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
    named = os.environ.get("FLOWPRIOR_DATA") or None if root is None else str(root)
    base = None if named is None else Path(named).expanduser()
    folders = [base, base / "fashion-mnist", base / "FashionMNIST" / "raw"] if base else []
    return folders if root is not None else [*folders, DEBIAN_FOLDER]


def _plain_or_gz(path: Path) -> Path | None:
    packed = path.with_name(path.name + ".gz")
    return next((candidate for candidate in (path, packed) if candidate.is_file()), None)


def _read(file: Path, read: Callable[[str], Tensor]) -> Tensor:
    """Read ``file``, plain or ``.gz``, by one of torchvision's readers of IDX files.

    Raises:
        InputError: it cannot be read.
    """
    from torchvision.datasets.utils import extract_archive

    try:
        with TemporaryDirectory() as folder:
            plain = extract_archive(str(file), folder) if file.suffix == ".gz" else str(file)
            return read(str(plain))
    except Exception as error:  # the parsers of damaged files raise a dozen kinds
        raise InputError(
            f"{file}: cannot be read as IDX ({one_line(error)}); install or unpack it again"
        ) from error
