"""Toys against the formulas they are drawn from; tolerances are four standard errors."""

from __future__ import annotations

import math

import pytest
import torch

from flowprior.data import load_data, sample_eight_gaussians, sample_moons
from flowprior.data.small import circle_of_centres

TOYS = [
    "eight-modes",
    "8gaussians",
    "moons",
    "checkerboard",
    "8gaussians-to-moons",
    "8gaussians-to-moons-continuous",
]


def assert_mean(rows, expected, std):
    """Means of independent rows within four standard errors."""
    error = 4 * torch.as_tensor(std) / math.sqrt(len(rows))
    assert ((rows.mean(dim=0) - torch.as_tensor(expected)).abs() < error).all()


def assert_std(rows, expected):
    """Standard deviations of Gaussian columns: relative standard error 1 / sqrt(2 n)."""
    relative = rows.std(dim=0) / torch.as_tensor(expected) - 1
    assert (relative.abs() < 4 / math.sqrt(2 * len(rows))).all()


@pytest.mark.parametrize("name", TOYS)
def test_seeds_and_splits(name):
    before = torch.get_rng_state()
    data, again, other = (load_data(name, n=100, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(data.x, again.x)
    assert not torch.equal(data.x, other.x)
    assert not torch.equal(data.x, load_data(name, "test", n=100).x)
    assert torch.equal(torch.get_rng_state(), before), "the global generator is left alone"
    assert data.event_shape == (2,)
    assert data.x.dtype == torch.float32
    assert len(data) == 100


def test_centres_are_evenly_on_the_circle():
    centres = circle_of_centres(2.0)
    torch.testing.assert_close(centres.norm(dim=1), torch.full((8,), 2.0))
    torch.testing.assert_close(centres[[0, 2, 4]], torch.tensor([[2.0, 0], [0, 2], [-2, 0]]))
    gaps = (centres - centres.roll(1, 0)).norm(dim=1)
    torch.testing.assert_close(gaps, torch.full((8,), 4 * math.sin(math.pi / 8)))


@pytest.mark.parametrize("radius", [1.0, 5.0])
def test_eight_modes_are_the_papers(radius):
    data = load_data("eight-modes", n=16_000, radius=radius)
    assert torch.bincount(data.cond).tolist() == [2000] * 8
    std = torch.tensor([0.03 * radius, 0.3 * radius])
    for mode in range(8):
        rows = data.x[data.cond == mode]
        assert_mean(rows, circle_of_centres(radius)[mode], std)
        assert_std(rows, std)


def test_eight_gaussians_have_variance_a_tenth_around_radius_five():
    data = load_data("8gaussians", n=16_000)
    assert data.condition.size == 8
    for mode in range(8):
        rows = data.x[data.cond == mode]
        assert len(rows) == pytest.approx(2000, abs=4 * math.sqrt(2000))
        assert_mean(rows, circle_of_centres(5.0)[mode], math.sqrt(0.1))
        assert_std(rows, [math.sqrt(0.1)] * 2)


def test_the_starts_have_the_law_of_eight_gaussians(generator):
    x = sample_eight_gaussians(20_000, generator=generator)
    assert_mean(x, [0.0, 0.0], math.sqrt(12.6))
    # E|x|² = 25 + 2 · 0.1, with var |x|² about 4 · 25 · 0.1.
    assert float(x.square().sum(dim=1).mean()) == pytest.approx(25.2, abs=4 * math.sqrt(10.2 / 20_000))


@pytest.mark.parametrize("name", ["8gaussians", "moons"])
def test_labels_can_be_left_out(name):
    data = load_data(name, labels=False)
    assert data.condition.kind == "none"
    assert data.batch(torch.arange(3))[1] is None


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


def test_continuous_condition_is_the_targets_x():
    data = load_data("8gaussians-to-moons-continuous")
    assert data.condition.kind == "embeddings"
    assert data.condition.size == 1
    assert torch.equal(data.cond[:, 0], data.x[:, 0])
    labelled = load_data("8gaussians-to-moons")
    assert torch.equal(labelled.x, data.x)
    assert labelled.condition.size == 2
