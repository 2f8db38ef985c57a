"""Data that come as Debian packages: a test that needs them skips where they are not installed."""

from __future__ import annotations

from typing import Literal

import pytest

from flowprior.data import Data, load_data
from flowprior.data.small import DEBIAN_FOLDER


def fashion_mnist(split: Literal["train", "test"] = "train") -> Data:
    """A split of Fashion-MNIST; the test is skipped without it."""
    if not (DEBIAN_FOLDER / "train-images-idx3-ubyte.gz").is_file():
        pytest.skip("no pictures of Fashion-MNIST: apt-get install dataset-fashion-mnist")
    return load_data("fashion-mnist", split)
