"""Toys against the formulas they are drawn from; tolerances are four standard errors."""

from __future__ import annotations

import math

import pytest
import torch

from flowprior.data import load_data, sample_eight_gaussians, sample_moons
from flowprior.data.small import circle_of_centres


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
