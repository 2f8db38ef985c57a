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
from flowprior.data.small import fashion_mnist as module_function
from flowprior.errors import DataNotFoundError, OptionError
from tests.debian_data import fashion_mnist

IMAGES = (torch.arange(6 * 28 * 28) % 256).to(torch.uint8).reshape(6, 28, 28)
LABELS = torch.tensor([0, 9, 3, 3, 1, 7], dtype=torch.uint8)


def idx_bytes(values: Tensor, kind: int = 8) -> bytes:
    """The IDX form of a uint8 tensor."""
    header = struct.pack(f">BBBB{values.dim()}I", 0, 0, kind, values.dim(), *values.shape)
    return header + bytes(values.flatten().tolist())


def write(folder, stem="train", images=IMAGES, labels=LABELS, packed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
        file = folder / f"{stem}-{kind}-ubyte{'.gz' if packed else ''}"
        file.write_bytes(gzip.compress(idx_bytes(values)) if packed else idx_bytes(values))


@pytest.mark.parametrize("layout", [".", "fashion-mnist", "FashionMNIST/raw"])
@pytest.mark.parametrize("packed", [True, False])
def test_files_are_found_in_every_layout(layout, packed, tmp_path):
    write(tmp_path / layout, packed=packed)
    write(tmp_path / layout, "t10k", IMAGES[:2], LABELS[:2], packed=packed)
    train, test = (load_data(f"fashion-mnist:root={tmp_path}", split) for split in ("train", "test"))
    assert torch.equal(train.x, IMAGES[:, None].float() / 127.5 - 1)
    assert train.cond.tolist() == LABELS.tolist()
    assert train.x.dtype == torch.float32
    assert (float(train.x.min()), float(train.x.max())) == (-1.0, 1.0)
    assert len(test) == 2
    assert test.condition.size == 10


def test_root_goes_before_the_environment(tmp_path, monkeypatch):
    write(tmp_path / "a" / "fashion-mnist")
    write(tmp_path / "b", images=IMAGES[:3], labels=LABELS[:3])
    monkeypatch.setenv("FLOWPRIOR_DATA", str(tmp_path / "a"))
    assert len(load_data("fashion-mnist", root=str(tmp_path / "b"))) == 3
    assert len(load_data("fashion-mnist")) == 6


def test_missing_files_name_package_and_argument(tmp_path):
    write(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataNotFoundError, match=r"dataset-fashion-mnist, or pass root="):
        load_data("fashion-mnist", root=str(tmp_path))


def test_unknown_splits_are_refused():
    with pytest.raises(OptionError, match="choose one of train, test"):
        module_function(split="valid")


def test_the_debian_package_holds_ten_balanced_classes(monkeypatch):
    monkeypatch.delenv("FLOWPRIOR_DATA", raising=False)
    test = fashion_mnist("test")
    assert test.x.shape == (10_000, 1, 28, 28)
    assert torch.bincount(test.cond).tolist() == [1000] * 10
    assert test.class_names == CLASS_NAMES
    assert test.is_image
    # Mean of the training pictures is 0.286 of 255 (torchvision's usual normalisation).
    assert float(test.x.mean()) == pytest.approx(2 * 0.286 - 1, abs=0.01)


def test_both_splits_together_are_the_whole_set():
    images, labels = load_digits(return_X_y=True)
    parts = [load_data("digits", split) for split in ("train", "test")]
    rows = torch.cat([part.x.flatten(1) for part in parts]) * 8 + 8
    expected = torch.from_numpy(images).float()
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, expected.tolist()))
    counts = torch.bincount(torch.cat([part.cond for part in parts]))
    assert counts.tolist() == torch.bincount(torch.from_numpy(labels)).tolist()


def test_pictures_and_labels_belong_together():
    images, labels = load_digits(return_X_y=True)
    digits = load_data("digits", "test")
    label_of = {tuple(row): int(label) for row, label in zip(images.tolist(), labels, strict=True)}
    rows = (digits.x.flatten(1) * 8 + 8).tolist()
    assert [label_of[tuple(row)] for row in rows] == digits.cond.tolist()


def test_scikit_learn_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its import brings pandas and SciPy's statistics into every process that reads the digits."""
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert len(load_data("digits")) > 1000


def test_it_is_a_labelled_set_of_pictures():
    digits = load_data("digits")
    assert digits.event_shape == (1, 8, 8)
    assert digits.x.dtype == torch.float32
    assert (float(digits.x.min()), float(digits.x.max())) == (-1.0, 1.0)
    assert digits.condition.kind == "labels"
    assert digits.condition.size == len(digits.class_names) == 10
    assert digits.is_image
