"""scikit-learn's handwritten digits: the ten-second default that needs no download."""

from __future__ import annotations

import torch

from flowprior.data.base import DATA, Split, TensorData
from flowprior.data.splits import split_indices


@DATA.register("digits")
def digits(split: Split = "train", test_fraction: float = 0.2, seed: int = 0) -> TensorData:
    """Handwritten digits, 1,797 pictures [1, 8, 8] in [-1, 1], 10 classes (scikit-learn).

    Args:
        split: ``"train"`` or ``"test"``; each class is divided by ``test_fraction`` on its own.
        test_fraction: share of the pictures held out, in [0, 1).
        seed: another seed gives another split.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(images).float().reshape(-1, 1, 8, 8) / 8 - 1
    y = torch.from_numpy(labels).long()
    chosen = split_indices(len(x), split, test_fraction=test_fraction, seed=seed, labels=y)
    names = [str(digit) for digit in range(10)]
    return TensorData(x[chosen], y[chosen], name="digits", classes=10, class_names=names, is_image=True)
