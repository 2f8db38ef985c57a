"""Assignments, plans from POT and permutations of them: the best, with their marginals, or refused."""

from __future__ import annotations

import warnings
from itertools import permutations

import numpy as np
import ot
import ot.partial
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowprior.couplings import plans
from flowprior.couplings.plans import SOLVERS, PlanSolver, assignment, complete_plan, round_plan
from flowprior.errors import CouplingError


@pytest.mark.parametrize("solver", SOLVERS)
@given(n=st.integers(0, 6), seed=st.integers(0, 10_000), ties=st.booleans())
def test_an_assignment_is_the_best_of_all_permutations(solver: str, n: int, seed: int, ties: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    cost = torch.randn(n, n, generator=generator, dtype=torch.float64)
    cost = cost.round() if ties else cost
    before, rows = cost.clone(), torch.arange(n)
    best = min(float(cost[rows, list(p)].sum()) for p in permutations(range(n)))
    found = assignment(cost, solver)
    assert sorted(found.tolist()) == list(range(n))
    assert float(cost[rows, found].sum()) == pytest.approx(best, abs=1e-12)
    torch.testing.assert_close(cost, before, rtol=0, atol=0)


def test_both_solvers_give_one_assignment(generator: torch.Generator) -> None:
    x1, x0 = torch.randn(2, 200, 5, generator=generator, dtype=torch.float64)
    found = [assignment(-(x1 @ x0.T).T, solver) for solver in SOLVERS]
    torch.testing.assert_close(*found)
    plan = ot.emd([], [], -(x0 @ x1.T).numpy())
    assert found[0].tolist() == plan.argmax(1).tolist()


def test_an_assignment_that_is_not_reached_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "MOST_PIVOTS", 3)
    with (
        pytest.warns(UserWarning, match="numItermax reached"),
        pytest.raises(CouplingError, match=r"method=exact failed: numItermax .* use solver=scipy"),
    ):
        assignment(cost_of(40))


def cost_of(n: int, seed: int = 0) -> torch.Tensor:
    x, y = torch.randn(2, n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cdist(x, y).square()


def plan_of(method: str, cost: torch.Tensor, **options: float) -> torch.Tensor:
    solver = PlanSolver(method, **{"reg": 0.05, "reg_m": 1.0, "mass": 0.9, **options})
    return solver.solve(cost, float(cost.mean())).exp()


@pytest.mark.parametrize("method", ["sinkhorn", "unbalanced", "partial"])
def test_marginals_are_uniform(method: str) -> None:
    plan = plan_of(method, cost_of(50))
    uniform = torch.full((50,), 1 / 50, dtype=torch.float64)
    torch.testing.assert_close(plan.sum(1), uniform, rtol=2e-2, atol=0)
    torch.testing.assert_close(plan.sum(0), uniform, rtol=2e-2, atol=0)
    assert (plan >= 0).all()


def test_sinkhorn_solves_the_entropic_problem() -> None:
    """Its logarithm is −C / reg up to one number a row and one a column."""
    cost = cost_of(20)
    rest = PlanSolver("sinkhorn", 0.1, 1.0, 0.9).solve(cost, float(cost.mean())) + cost / (0.1 * cost.mean())
    rest = rest - rest[:1] - rest[:, :1] + rest[0, 0]
    torch.testing.assert_close(rest, torch.zeros_like(rest), atol=1e-9, rtol=0)


def test_regularisation_moves_from_the_exact_to_the_independent_cost() -> None:
    cost = cost_of(24)
    exact = float(ot.emd2([], [], cost.numpy()))
    costs = [float((plan_of("sinkhorn", cost, reg=reg) * cost).sum()) for reg in (0.003, 0.1, 1.0, 1000.0)]
    assert costs == sorted(costs)
    assert costs[0] == pytest.approx(exact, rel=0.02)
    assert costs[-1] == pytest.approx(float(cost.mean()), rel=0.01)


def test_a_tiny_regularisation_does_not_underflow_into_a_uniform_plan() -> None:
    """In the log domain exp(−C/reg) = exp(−2000) is no zero: the plan is the assignment, not uniform."""
    cost = 1.0 - torch.eye(6, dtype=torch.float64)
    plan = plan_of("sinkhorn", cost, reg=5e-4)
    torch.testing.assert_close(plan, torch.eye(6, dtype=torch.float64) / 6, atol=1e-6, rtol=0)


def test_partial_leaves_the_dearest_mass_to_chance() -> None:
    """Nine near pairs and one outlier on each side, far apart: mass 0.9 leaves the outliers."""
    near = torch.arange(9, dtype=torch.float64)
    x, y = torch.cat([near, near.new_tensor([1e3])]), torch.cat([near + 0.1, near.new_tensor([-1e3])])
    plan = plan_of("partial", (x[:, None] - y[None]).square(), mass=0.9)
    torch.testing.assert_close(plan, torch.eye(10, dtype=torch.float64) / 10, atol=1e-9, rtol=0)
    half = plan_of("partial", cost_of(20), mass=0.5)
    whole = plan_of("partial", cost_of(20), mass=1.0)
    assert (half * cost_of(20)).sum() > (whole * cost_of(20)).sum()


def test_weak_marginals_leave_more_to_chance() -> None:
    cost = cost_of(30)
    costs = [float((plan_of("unbalanced", cost, reg_m=m) * cost).sum()) for m in (0.05, 1.0, 20.0)]
    assert costs[0] > costs[1] > costs[2]
    balanced = float((plan_of("sinkhorn", cost) * cost).sum())
    assert float((plan_of("unbalanced", cost, reg_m=1e3) * cost).sum()) == pytest.approx(balanced, rel=0.02)


def test_completed_plans_have_their_marginals() -> None:
    weights = np.full(4, 0.25)
    partial = np.diag([0.25, 0.2, 0.0, 0.1])
    whole = complete_plan(partial, weights)
    np.testing.assert_allclose(whole.sum(0), weights)
    np.testing.assert_allclose(whole.sum(1), weights)
    assert (whole >= partial - 1e-15).all()
    over = complete_plan(np.full((4, 4), 0.2), weights)
    np.testing.assert_allclose(over, np.full((4, 4), 1 / 16))


def test_equal_costs_are_served_by_any_pairing() -> None:
    assert (PlanSolver("sinkhorn", 0.05, 1.0, 0.9).solve(torch.zeros(4, 4).double(), 0.0) == 0).all()


def test_sinkhorn_that_does_not_converge_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "MAX_ITERATIONS", 3)
    with pytest.raises(
        CouplingError, match=r"method=sinkhorn failed with reg=0\.001.*did not converge.*raise reg"
    ):
        plan_of("sinkhorn", cost_of(40), reg=0.001)
    with pytest.raises(CouplingError, match=r"method=unbalanced failed.*did not converge in 3 iterations"):
        plan_of("unbalanced", cost_of(40), reg=0.05)


def test_unbalanced_that_destroys_all_mass_raises() -> None:
    with pytest.raises(CouplingError, match=r"method=unbalanced failed"):
        plan_of("unbalanced", cost_of(20) + 50.0, reg=0.01, reg_m=0.001)


@pytest.mark.parametrize(
    "broken",
    [np.full((5, 5), np.nan), np.zeros((5, 5)), np.diag([0.5, 0.5, 0, 0, 0]), np.full((5, 5), 0.001)],
)
def test_a_bad_plan_raises_and_never_turns_uniform(
    broken: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ot.partial, "partial_wasserstein", lambda *_, **__: broken)
    with pytest.raises(CouplingError, match=r"method=partial failed.*the plan"):
        plan_of("partial", cost_of(5), mass=1.0)


def test_a_warning_from_pot_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:

    def warn(*_: object, **__: object) -> np.ndarray:
        warnings.warn("numItermax reached before optimality", stacklevel=1)
        return np.eye(5) / 5

    monkeypatch.setattr(ot.partial, "partial_wasserstein", warn)
    with pytest.raises(CouplingError, match="numItermax reached"):
        plan_of("partial", cost_of(5))


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


@pytest.mark.parametrize("method", ["sinkhorn", "unbalanced", "partial"])
def test_the_scale_of_the_cost_does_not_matter(method: str) -> None:
    cost = cost_of(30)
    torch.testing.assert_close(plan_of(method, cost), plan_of(method, 1e4 * cost), rtol=1e-6, atol=1e-10)
