"""Scores of several samples of one condition against its one truth."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch

from flowprior.errors import InputError, OptionError
from flowprior.metrics import crps, energy_score, member_spread
from flowprior.metrics.ensembles import calibration_ranks, expected_coverage, spread_skill_ratio


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


def test_the_spread_over_the_error_is_1_if_the_truth_could_be_a_member():
    """And by hand: variance 2, (m + 1)/m = 3/2, error 1."""
    assert spread_skill_ratio(torch.tensor([[0.0, 2]]), torch.tensor([2.0])) == pytest.approx(math.sqrt(3))
    truth, members = normal(20000, 2, seed=1), normal(20000, 3, 2)
    assert spread_skill_ratio(members, truth) == pytest.approx(1, abs=0.01)
    too_certain = math.sqrt(0.25 * 4 / 3 / (1 + 0.25 / 3))
    assert spread_skill_ratio(members / 2, truth) == pytest.approx(too_certain, abs=0.01)


def test_ranks_of_the_truth_are_uniform_if_it_could_be_a_member():
    members = torch.tensor([[[0.0, 5], [1, 6], [2, 7]]])
    assert calibration_ranks(members, torch.tensor([[1.5, 4]])).tolist() == [[2, 0]]
    ranks = calibration_ranks(normal(20000, 4, 2), normal(20000, 2, seed=1))
    assert (ranks.flatten().bincount() / 40000).tolist() == pytest.approx([0.2] * 5, abs=0.01)


@pytest.mark.parametrize(("members", "deviation"), [(3, 1.0), (100, 1.0), (100, 2.0)])
def test_coverage_of_a_gaussian_is_the_closed_form(members, deviation):
    """2 Φ(z/σ) − 1 of truths N(0, σ²) in [−z, z], and the level itself for σ = 1, whatever the members."""
    z, levels = torch.distributions.Normal(0.0, 1.0), torch.tensor([0, 0.1, 0.5, 0.9, 1])
    truth = deviation * normal(20000, seed=1)
    found = expected_coverage(z.log_prob(normal(20000, members)), z.log_prob(truth), levels)
    expected = 2 * z.cdf(z.icdf((1 + levels) / 2) / deviation) - 1
    assert found.tolist() == pytest.approx(expected.tolist(), abs=0.01)
    outside = expected_coverage(torch.zeros(1, 3), torch.tensor([-math.inf]), [0.5, 0.9, 1])
    assert outside.tolist() == pytest.approx([0, 0.6, 1])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: spread_skill_ratio(x[:, :1], x[:, 0]), InputError, "with 2 members or more"),
        (lambda x: calibration_ranks(x, x), InputError, r"got \[4, 3, 2\] and \[4, 3, 2\]"),
        (lambda x: calibration_ranks(x, x[:, 0] / 0), InputError, "NaN or infinity"),
        (lambda x: expected_coverage(x[..., 0], x[:, 0, 0], [0.5, 90]), OptionError, "level to be"),
    ],
)
def test_what_is_no_ensemble_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call(normal(4, 3, 2))
