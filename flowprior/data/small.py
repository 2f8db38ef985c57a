"""The small data sets in memory: scikit-learn's digits, Fashion-MNIST, and toy data in the plane.

The digits are the default, which needs no download. Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747) is
read from its four original IDX files. Each toy is drawn from its own ``torch.Generator``. The scales are
those of torchcfm's 8gaussians and moons, on which papers measure (Tong et al. 2302.00482, C²OT 2503.10636):
eight centres at radius 5 with variance 0.1; moons stretched by 3 and shifted by -1.
"""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from flowprior.data.base import DATA, Split
from flowprior.data.splits import split_indices
from flowprior.errors import DataNotFoundError, InputError
from flowprior.registry.options import check_counts
from flowprior.storage.user_paths import package_file
from flowprior.storage.writing import one_line
from flowprior.streams.data import TensorData

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""The folder of Debian's package ``dataset-fashion-mnist``."""
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
"""The names of the classes of Fashion-MNIST."""
EIGHT_GAUSSIANS_STD = math.sqrt(0.1)
"""The standard deviation of each of the eight Gaussians."""
MOST_POINTS = 10_000_000
"""The largest number of points of a toy data set."""


@DATA.register("digits")
def digits(split: Split = "train", test_fraction: float = 0.2, seed: int = 0) -> TensorData:
    """Handwritten digits, 1,797 images [1, 8, 8] in [-1, 1], 10 classes (scikit-learn).

    Args:
        split: ``"train"`` or ``"test"``; each class is divided by ``test_fraction`` separately.
        test_fraction: the fraction of images in the test split, in [0, 1).
        seed: the seed of the split.
    """
    problem = "digits: expected the file of digits in scikit-learn; run `pip install scikit-learn`"
    # scikit-learn itself is not imported, which takes a second.
    stored = package_file("sklearn", "datasets/data/digits.csv.gz", DataNotFoundError(problem))
    with gzip.open(stored, "rt") as file:
        numbers = torch.from_numpy(np.loadtxt(file, delimiter=",", dtype=np.int64))
    x = numbers[:, :-1].float().reshape(-1, 1, 8, 8) / 8 - 1
    y = numbers[:, -1].clone()
    chosen = split_indices(len(x), split, test_fraction=test_fraction, seed=seed, labels=y)
    names = [str(digit) for digit in range(10)]
    return TensorData(x[chosen], y[chosen], name="digits", classes=10, class_names=names, is_image=True)


@DATA.register("fashion-mnist", aliases=["fashion_mnist", "fmnist"])
def fashion_mnist(split: Split = "train", root: str | None = None) -> TensorData:
    """Fashion-MNIST, 60,000 + 10,000 images [1, 28, 28] in [-1, 1], 10 balanced classes.

    Args:
        split: ``"train"`` or ``"test"``, the original ones.
        root: the folder of the four IDX files (``.gz`` or unpacked), or a torchvision root. None looks in
            ``$FLOWPRIOR_DATA`` and in the folder of Debian's ``dataset-fashion-mnist``.

    Raises:
        DataNotFoundError: no such files; the message names the package or argument that gives them.
        InputError: a file is truncated or corrupt, or images and labels do not match.
    """
    from torchvision.datasets.mnist import read_image_file, read_label_file

    images_file, labels_file = _find_files("train" if split == "train" else "t10k", root)
    images, labels = _read(images_file, read_image_file), _read(labels_file, read_label_file)
    if len(labels) != len(images):
        raise InputError(
            f"{images_file}: expected images [N, height, width] with as many labels in {labels_file.name}, "
            f"got {list(images.shape)} and {list(labels.shape)}"
        )
    if len(labels) and int(labels.max()) >= len(CLASS_NAMES):
        raise InputError(f"{labels_file}: expected labels 0..9, got {int(labels.max())}")
    x = images.unsqueeze(1).float().div_(127.5).sub_(1)
    return TensorData(
        x, labels, name="fashion-mnist", classes=10, class_names=list(CLASS_NAMES), is_image=True
    )


def _find_files(stem: str, root: str | None) -> tuple[Path, Path]:
    """Return the files of images and labels of one split, from the first folder that holds both."""
    named = os.environ.get("FLOWPRIOR_DATA") or None if root is None else str(root)
    base = None if named is None else Path(named).expanduser()
    folders = [base, base / "fashion-mnist", base / "FashionMNIST" / "raw"] if base else []
    folders += [DEBIAN_FOLDER] if root is None else []
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


@DATA.register("eight-modes")
def eight_modes(split: Split = "train", n: int = 10_000, seed: int = 0, radius: float = 5.0) -> TensorData:
    """The paper's toy: 8 labels on a circle of radius R, std 0.03 R in x and 0.3 R in y.

    Args:
        split: ``"train"`` or ``"test"``, which are drawn with different seeds.
        n: the number of points, equally many of each label.
        seed: the seed of the points.
        radius: the radius R of the circle.
    """
    generator = _generator("eight-modes", split, n, seed)
    labels = torch.arange(n) % 8
    std = radius * torch.tensor([0.03, 0.3])
    x = circle_of_centres(radius)[labels] + std * torch.randn(n, 2, generator=generator)
    return TensorData(x, labels, name="eight-modes", classes=8)


@DATA.register("8gaussians", aliases=["eight-gaussians"])
def eight_gaussians(split: Split = "train", n: int = 10_000, seed: int = 0) -> TensorData:
    """Eight isotropic Gaussians of variance 0.1 on a circle of radius 5; the label is the mode.

    Args:
        split: ``"train"`` or ``"test"``, which are drawn with different seeds.
        n: the number of points.
        seed: the seed of the points.
    """
    x, modes = _sample_modes(n, _generator("8gaussians", split, n, seed))
    return TensorData(x, modes, name="8gaussians", classes=8)


@DATA.register("moons", aliases=["8gaussians-to-moons"])
def moons(split: Split = "train", n: int = 10_000, seed: int = 0) -> TensorData:
    """Two interleaved half circles of radius 3; the label is the moon. C²OT starts it from 8gaussians.

    Args:
        split: ``"train"`` or ``"test"``, which are drawn with different seeds.
        n: the number of points, half of them on each moon.
        seed: the seed of the points.
    """
    x, which = sample_moons(n, generator=_generator("moons", split, n, seed))
    return TensorData(x, which, name="moons", classes=2)


@DATA.register("checkerboard")
def checkerboard(split: Split = "train", n: int = 10_000, seed: int = 0) -> TensorData:
    """A uniform distribution on the eight dark squares, of side 2, of a 4 × 4 board; no condition.

    Args:
        split: ``"train"`` or ``"test"``, which are drawn with different seeds.
        n: the number of points.
        seed: the seed of the points.
    """
    generator = _generator("checkerboard", split, n, seed)
    columns = torch.randint(4, (n,), generator=generator)
    rows = 2 * torch.randint(2, (n,), generator=generator) + columns % 2
    corners = torch.stack([columns, rows], dim=1).float()
    x = 2 * (corners + torch.rand(n, 2, generator=generator)) - 4
    return TensorData(x, name="checkerboard")


def circle_of_centres(radius: float, count: int = 8) -> Tensor:
    """Return points ``[count, 2]`` evenly on a circle, the first one on the positive x axis."""
    angles = torch.arange(count, dtype=torch.float64) * (2 * math.pi / count)
    return (radius * torch.stack([angles.cos(), angles.sin()], dim=1)).float()


def sample_eight_gaussians(n: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw n independent source samples ``[n, 2]`` of 8gaussians→moons: radius 5, variance 0.1."""
    return _sample_modes(n, generator)[0]


def sample_moons(
    n: int, noise: float = 0.2, *, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Draw points ``[n, 2]`` on two moons in random order; return them and their moons int64 ``[n]``.

    A number from U[0, noise) is added to both coordinates of a point before the stretch by 3, as in torchdyn,
    torchcfm and C²OT.
    """
    outer, inner = torch.linspace(0, math.pi, n // 2), torch.linspace(0, math.pi, n - n // 2)
    upper = torch.stack([outer.cos(), outer.sin()], dim=1)
    lower = torch.stack([1 - inner.cos(), 0.5 - inner.sin()], dim=1)
    x = torch.cat([upper, lower]) + noise * torch.rand(n, 1, generator=generator)
    which = (torch.arange(n) >= n // 2).long()
    order = torch.randperm(n, generator=generator)
    return (3 * x - 1)[order], which[order]


def _sample_modes(n: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    modes = torch.randint(8, (n,), generator=generator)
    noise = EIGHT_GAUSSIANS_STD * torch.randn(n, 2, generator=generator)
    return circle_of_centres(5.0)[modes] + noise, modes


def _generator(name: str, split: str, n: int, seed: int) -> torch.Generator:
    """Return the generator of one split, with seed 2s for training and 2s + 1 for the test split."""
    check_counts(name, 1, MOST_POINTS, n=n)
    return torch.Generator().manual_seed(2 * seed + (split == "test"))
