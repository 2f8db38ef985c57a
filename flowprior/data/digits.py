"""scikit-learn's handwritten digits: the ten-second default that needs no download."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from flowprior.data.base import DATA, Split, TensorData
from flowprior.data.splits import split_indices
from flowprior.errors import DataNotFoundError


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


def _read_numbers() -> np.ndarray:
    """Read the file of scikit-learn, whose import takes a second: 64 pixels and a label, int64 [1797, 65]."""
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise DataNotFoundError(
            "digits: expected scikit-learn, which holds the file; pip install scikit-learn"
        )
    with gzip.open(Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        return np.loadtxt(file, delimiter=",", dtype=np.int64)
