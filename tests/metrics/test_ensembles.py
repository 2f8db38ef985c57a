"""Scores of several samples of one condition against its one truth."""

from __future__ import annotations

import math

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


@pytest.mark.parametrize("score", [crps, energy_score])
def test_scores_are_fair_to_the_number_of_members(score):
    truth = normal(40000, 2, seed=1)
    few, many = (score(normal(40000, m, 2, seed=m), truth).mean() for m in (2, 12))
    assert float(few) == pytest.approx(float(many), rel=0.02)


@pytest.mark.parametrize("score", [crps, energy_score])
def test_scores_are_proper_the_true_law_scores_best(score):
    truth, members = normal(8000, 3, seed=1), normal(8000, 6, 3, seed=2)
    own = score(members, truth).mean()
    for other in (0.5 * members, 1.6 * members, members + 0.4):
        assert own < score(other, truth).mean()


def test_the_energy_score_sees_whether_numbers_go_together_and_the_crps_does_not():
    line = normal(6000, 1, seed=1)
    truth = line.expand(-1, 6)
    together = normal(6000, 4, 1, seed=2).expand(-1, -1, 6)
    apart = normal(6000, 4, 6, seed=3)
    assert float(crps(together, truth).mean()) == pytest.approx(float(crps(apart, truth).mean()), rel=0.03)
    assert energy_score(together, truth).mean() < 0.97 * energy_score(apart, truth).mean()


def test_one_member_is_scored_by_its_error():
    x, y = normal(5, 1, 3), normal(5, 3, seed=1)
    assert torch.allclose(crps(x, y), (x[:, 0] - y).abs().mean(1))
    assert torch.allclose(energy_score(x, y), (x[:, 0] - y).norm(dim=1))


def test_scores_by_pairs_written_out():
    x, y = normal(4, 5, 2, 3), normal(4, 2, 3, seed=1)
    rows = x.flatten(2)
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    apart = torch.stack([(rows[:, i] - rows[:, j]).norm(dim=1) for i, j in pairs]).mean(0)
    error = (rows - y.flatten(1)[:, None]).norm(dim=2).mean(1)
    assert torch.allclose(energy_score(x, y), error - apart / 2)


def test_spread_is_the_deviation_of_the_members():
    assert float(member_spread(2 * normal(500, 50, 4)).mean()) == pytest.approx(2.0, rel=0.02)
