"""Digits, Fashion-MNIST and toys: found where they may lie, and as their formulas say."""

from __future__ import annotations

import gzip
import math
import struct
import sys

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from flowprior.data import load_data, sample_eight_gaussians, sample_moons
from flowprior.data.small import CLASS_NAMES, circle_of_centres
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


# -- toys -----------------------------------------------------------------------------------------


def assert_gaussian(rows, mean, std):
    """Means and standard deviations of independent Gaussian rows within four standard errors."""
    std = torch.as_tensor(std)
    assert ((rows.mean(0) - torch.as_tensor(mean)).abs() < 4 * std / math.sqrt(len(rows))).all()
    assert ((rows.std(0) / std - 1).abs() < 4 / math.sqrt(2 * len(rows))).all()


@pytest.mark.parametrize("name", ["eight-modes", "8gaussians", "moons", "checkerboard"])
def test_seeds_and_splits(name):
    before = torch.get_rng_state()
    data, again, other = (load_data(name, n=100, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(data.x, again.x)
    assert not torch.equal(data.x, other.x)
    assert not torch.equal(data.x, load_data(name, "test", n=100).x)
    assert torch.equal(torch.get_rng_state(), before), "the global generator is left alone"
    assert (data.event_shape, data.x.dtype, len(data)) == ((2,), torch.float32, 100)


@pytest.mark.parametrize(
    ("spec", "std"),
    [
        ("eight-modes:n=16000,radius=1.0", [0.03, 0.3]),
        ("eight-modes:n=16000", [0.15, 1.5]),
        ("8gaussians:n=16000", [math.sqrt(0.1)] * 2),
    ],
)
def test_modes_lie_on_a_circle_with_their_spread(spec, std):
    data, radius = load_data(spec), 1.0 if "radius" in spec else 5.0
    centres = circle_of_centres(radius)
    torch.testing.assert_close(centres.norm(dim=1), torch.full((8,), radius))
    torch.testing.assert_close(centres[[0, 2, 4]], radius * torch.tensor([[1.0, 0], [0, 1], [-1, 0]]))
    assert data.condition.size == 8
    for mode in range(8):
        rows = data.x[data.cond == mode]
        assert len(rows) == pytest.approx(2000, abs=4 * math.sqrt(2000))
        assert_gaussian(rows, centres[mode], std)


def test_the_source_of_moons_is_eight_gaussians(generator):
    x = sample_eight_gaussians(20_000, generator=generator)
    # E|x|² = 25 + 2 · 0.1, with var |x|² about 4 · 25 · 0.1.
    assert float(x.square().sum(dim=1).mean()) == pytest.approx(25.2, abs=4 * math.sqrt(10.2 / 20_000))
    assert float(x.mean(0).norm()) < 0.15


@pytest.mark.parametrize("moon", [0, 1])
def test_moons_follow_torchdyn(moon, generator):
    """Undoing the stretch leaves half circles, moved by one offset in [0, 0.2) for both coordinates."""
    x, which = sample_moons(400, generator=generator)
    points = ((x + 1) / 3)[which == moon]
    angles = torch.linspace(0, math.pi, 200)
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)
    circle = circle if moon == 0 else torch.tensor([1.0, 0.5]) - circle
    offsets = points[:, None] - circle
    shared = (offsets[..., 0] - offsets[..., 1]).abs() < 1e-5
    allowed = (offsets > -1e-5).all(dim=-1) & (offsets < 0.2).all(dim=-1)
    assert (shared & allowed).any(dim=1).all()
    assert torch.bincount(which).tolist() == [200, 200]


def test_checkerboard_is_uniform_on_its_dark_squares():
    x = load_data("checkerboard", n=16_000).x
    assert float(x.abs().max()) <= 4
    column, row = ((x + 4) / 2).floor().long().unbind(dim=1)
    assert ((column + row) % 2 == 0).all()
    counts = torch.bincount(4 * column + row, minlength=16)
    counts = counts[counts > 0]
    assert len(counts) == 8
    assert ((counts - 2000).abs() < 4 * math.sqrt(2000)).all()
