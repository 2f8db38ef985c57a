"""Plans whose matrix is never held: the same law as POT's dense plan, its marginals, and what is refused."""

from __future__ import annotations

import pytest
import torch

from flowprior import Coupling
from flowprior.couplings import ot, plans
from flowprior.couplings.costs import squared_distances, transport_cost
from flowprior.couplings.plans import LargePlan, PlanSolver
from flowprior.errors import CouplingError

REG = 0.05


def rows(count, generator, shift=0.0):
    return torch.randn(count, 3, generator=generator, dtype=torch.float64) + shift


def test_draws_follow_the_rows_of_the_dense_plan(generator, monkeypatch):
    monkeypatch.setattr(plans, "BLOCK_NUMBERS", 36)  # three rows at once
    x1, x0 = rows(12, generator, 1.0), rows(12, generator)
    cost = squared_distances(x1, x0)
    plan = PlanSolver("sinkhorn", REG, 1.0, 0.9).solve(cost, float(cost.mean())).softmax(1)
    large, draws, found = LargePlan.of(x1, x0, REG), 3_000, torch.zeros(12, 12, dtype=torch.float64)
    for _ in range(draws):
        found[torch.arange(12), large.draw(generator)] += 1 / draws
    deviation = (plan * (1 - plan) / draws).sqrt()
    assert ((found - plan).abs() <= 5 * deviation + 2e-3).all(), (found - plan).abs().max()


def test_each_source_sample_comes_once_on_average(generator):
    plan = LargePlan.of(rows(200, generator, 3.0), rows(200, generator), REG)
    count = sum(torch.bincount(plan.draw(generator), minlength=200) for _ in range(200))
    assert torch.as_tensor(count / 200 - 1).abs().max() < 5 / 200**0.5


def test_a_large_batch_takes_it_and_pairs_nearer_than_chance(generator, monkeypatch):
    monkeypatch.setattr(ot, "DENSE_ROWS", 100)
    coupling = Coupling.create("ot", method="sinkhorn", reg=0.01)
    labels = torch.arange(300) % 2
    x1, x0 = rows(300, generator) + labels[:, None], rows(300, generator) + labels[:, None]
    chosen = coupling.pair(x0, x1, labels, generator=generator)
    assert (labels[chosen] == labels).all()
    assert len(chosen.unique()) < 300  # no permutation: each label has more rows than are held
    exact = Coupling.create("ot").pair(x0, x1, labels)
    cost, least, apart = (transport_cost(x, x1) for x in (x0[chosen], x0[exact], x0))
    assert least < cost < 0.2 * apart


def test_a_plan_that_is_not_reached_is_refused(generator, monkeypatch):
    monkeypatch.setattr(plans, "MOST_ITERATIONS", 2)
    with pytest.raises(CouplingError, match=r"method=sinkhorn failed with reg=0.0001: .*; raise reg"):
        LargePlan.of(rows(60, generator), rows(60, generator), 1e-4)


def test_rows_that_are_not_finite_are_refused(generator):
    x1 = rows(60, generator)
    x1[3, 1] = float("nan")
    with pytest.raises(CouplingError, match="is not finite"):
        LargePlan.of(x1, rows(60, generator), REG)


def test_rows_that_are_all_the_same_are_paired_at_random(generator):
    plan = LargePlan.of(torch.ones(4, 2), torch.ones(4, 2), REG)
    assert torch.cat([plan.draw(generator) for _ in range(20)]).unique().tolist() == [0, 1, 2, 3]
