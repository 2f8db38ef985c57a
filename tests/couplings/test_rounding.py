from __future__ import annotations

import pytest
import torch

from flowprior.couplings.plans import round_plan


def test_a_permutation_plan_is_returned_as_it_is() -> None:
    permutation = torch.tensor([3, 0, 2, 1])
    plan = torch.zeros(4, 4, dtype=torch.float64)
    plan[torch.arange(4), permutation] = 0.25
    for seed in range(20):
        torch.testing.assert_close(round_plan(plan.log(), torch.Generator().manual_seed(seed)), permutation)


def test_two_permutations_of_equal_mass_are_drawn_equally_often() -> None:
    """A 2×2 uniform plan: each of the two permutations in half of 2,000 draws, within 5 standard errors."""
    generator = torch.Generator().manual_seed(0)
    plan = torch.full((2, 2), 0.25, dtype=torch.float64).log()
    first = sum(int(round_plan(plan, generator)[0]) for _ in range(2000))
    assert abs(first - 1000) < 5 * (2000 * 0.25) ** 0.5


def test_frequencies_follow_the_plan() -> None:
    """Two blocks of mass 4 to 1: pairs are drawn in the block more often, in the ratio of a 2×2 choice.

    Swapping costs 2 log(4) against the difference of sums of two Gumbels each, whose law is simulated.
    """
    generator = torch.Generator().manual_seed(1)
    plan = torch.tensor([[0.4, 0.1], [0.1, 0.4]], dtype=torch.float64).log()
    kept = sum(round_plan(plan, generator).tolist() == [0, 1] for _ in range(4000)) / 4000
    gumbel = -torch.empty(200_000, 4, dtype=torch.float64).exponential_(generator=generator).log()
    expected = float(
        (2 * plan[0, 0] - 2 * plan[0, 1] > gumbel @ torch.tensor([1.0, 1, -1, -1]).double()).double().mean()
    )
    assert kept == pytest.approx(expected, abs=5 * (expected * (1 - expected) / 4000) ** 0.5)


def test_factors_of_rows_and_columns_do_not_matter() -> None:
    plan = torch.randn(30, 30, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    scaled = plan + torch.randn(30, 1, dtype=torch.float64) + torch.randn(1, 30, dtype=torch.float64)
    draws = [round_plan(p, torch.Generator().manual_seed(3)) for p in (plan, scaled)]
    torch.testing.assert_close(*draws)
