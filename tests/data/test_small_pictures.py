"""Digits, the pictures of scikit-learn, and Fashion-MNIST, found where it may lie and read as it is."""

from __future__ import annotations

import gzip
import struct
import sys

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from flowprior.data import load_data
from flowprior.data.small import CLASS_NAMES
from flowprior.errors import DataNotFoundError
from tests.debian_data import fashion_mnist

IMAGES = (torch.arange(6 * 28 * 28) % 256).to(torch.uint8).reshape(6, 28, 28)
LABELS = torch.tensor([0, 9, 3, 3, 1, 7], dtype=torch.uint8)


def idx_bytes(values: Tensor) -> bytes:
    """The IDX form of a uint8 tensor."""
    header = struct.pack(f">BBBB{values.dim()}I", 0, 0, 8, values.dim(), *values.shape)
    return header + bytes(values.flatten().tolist())


def write(folder, stem="train", rows=6, packed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for kind, values in (("images-idx3", IMAGES[:rows]), ("labels-idx1", LABELS[:rows])):
        file = folder / f"{stem}-{kind}-ubyte{'.gz' if packed else ''}"
        file.write_bytes(gzip.compress(idx_bytes(values)) if packed else idx_bytes(values))


@pytest.mark.parametrize(
    ("layout", "packed"), [(".", True), ("fashion-mnist", True), ("FashionMNIST/raw", False)]
)
def test_files_are_found_in_every_layout(layout, packed, tmp_path):
    write(tmp_path / layout, packed=packed)
    write(tmp_path / layout, "t10k", 2, packed=packed)
    train, test = (load_data(f"fashion-mnist:root={tmp_path}", split) for split in ("train", "test"))
    assert torch.equal(train.x, IMAGES[:, None].float() / 127.5 - 1)
    assert train.cond.tolist() == LABELS.tolist()
    assert (train.x.dtype, len(test), test.condition.size) == (torch.float32, 2, 10)


def test_root_goes_before_the_environment_and_what_is_missing_is_named(tmp_path, monkeypatch):
    write(tmp_path / "a" / "fashion-mnist")
    write(tmp_path / "b", rows=3)
    monkeypatch.setenv("FLOWPRIOR_DATA", str(tmp_path / "a"))
    assert len(load_data("fashion-mnist", root=str(tmp_path / "b"))) == 3
    assert len(load_data("fashion-mnist")) == 6
    (tmp_path / "b" / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataNotFoundError, match=r"dataset-fashion-mnist, or pass root="):
        load_data("fashion-mnist", root=str(tmp_path / "b"))


def test_the_debian_package_holds_ten_balanced_classes(monkeypatch):
    monkeypatch.delenv("FLOWPRIOR_DATA", raising=False)
    test = fashion_mnist("test")
    assert test.x.shape == (10_000, 1, 28, 28)
    assert torch.bincount(test.cond).tolist() == [1000] * 10
    assert (test.class_names, test.is_image) == (CLASS_NAMES, True)
    # Mean of the training pictures is 0.286 of 255 (torchvision's usual normalisation).
    assert float(test.x.mean()) == pytest.approx(2 * 0.286 - 1, abs=0.01)


def test_both_splits_of_digits_are_the_whole_set_read_without_scikit_learn(monkeypatch):
    """Importing it brings pandas and SciPy's statistics into every process that reads the digits."""
    images, labels = load_digits(return_X_y=True)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    parts = [load_data("digits", split) for split in ("train", "test")]
    label_of = {tuple(row): int(label) for row, label in zip(images.tolist(), labels, strict=True)}
    rows = (torch.cat([part.x.flatten(1) for part in parts]) * 8 + 8).tolist()
    assert sorted(rows) == sorted(images.tolist())
    assert [label_of[tuple(row)] for row in rows] == torch.cat([part.cond for part in parts]).tolist()
    digits = parts[0]
    assert (digits.event_shape, digits.x.dtype, digits.is_image) == ((1, 8, 8), torch.float32, True)
    assert (float(digits.x.min()), float(digits.x.max())) == (-1.0, 1.0)
    assert digits.condition.size == len(digits.class_names) == 10
