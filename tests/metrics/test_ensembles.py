"""Scores of several samples of one condition against its one truth."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch

from flowprior.metrics import crps, energy_score, member_spread


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_crps_of_a_gaussian_is_the_closed_form():
    """σ (z (2Φ(z) − 1) + 2φ(z) − 1/√π), Gneiting & Raftery 2007, eq. 21 below."""
    y = torch.tensor([[0.0], [1.0], [-2.0]], dtype=torch.float64)
    found = crps(normal(3, 20000, 1), y)
    z = torch.distributions.Normal(0.0, 1.0)
    expected = y * (2 * z.cdf(y) - 1) + 2 * z.log_prob(y).exp() - 1 / math.sqrt(math.pi)
    assert torch.allclose(found, expected[:, 0], atol=0.02)


@pytest.mark.parametrize("members", [1, 5])
def test_scores_are_their_pairs_written_out(members):
    x, y = normal(4, members, 2, 3), normal(4, 2, 3, seed=1)
    rows, truth = x.flatten(2), y.flatten(1)
    pairs = list(permutations(range(members), 2)) or [(0, 0)]
    apart = torch.stack([rows[:, i] - rows[:, j] for i, j in pairs], 1)
    error = rows - truth[:, None]
    of_numbers = error.abs().mean((1, 2)) - apart.abs().mean((1, 2)) / 2
    of_events = error.norm(dim=2).mean(1) - apart.norm(dim=2).mean(1) / 2
    torch.testing.assert_close(crps(x, y), of_numbers)
    torch.testing.assert_close(energy_score(x, y), of_events)


@pytest.mark.parametrize("score", [crps, energy_score])
def test_scores_are_proper_and_fair_to_the_number_of_members(score):
    truth, members = normal(8000, 3, seed=1), normal(8000, 12, 3, seed=2)
    own = score(members, truth).mean()
    assert float(score(members[:, :2], truth).mean()) == pytest.approx(float(own), rel=0.03)
    for other in (0.5 * members, 1.6 * members, members + 0.4):
        assert own < score(other, truth).mean()


def test_the_energy_score_sees_whether_numbers_go_together_and_the_crps_does_not():
    line = normal(6000, 1, seed=1)
    truth = line.expand(-1, 6)
    together = normal(6000, 4, 1, seed=2).expand(-1, -1, 6)
    apart = normal(6000, 4, 6, seed=3)
    assert float(crps(together, truth).mean()) == pytest.approx(float(crps(apart, truth).mean()), rel=0.03)
    assert energy_score(together, truth).mean() < 0.97 * energy_score(apart, truth).mean()


def test_spread_is_the_deviation_of_the_members():
    assert float(member_spread(2 * normal(500, 50, 4)).mean()) == pytest.approx(2.0, rel=0.02)
