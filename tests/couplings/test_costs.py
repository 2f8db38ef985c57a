"""Costs of pairs: squared distances, and C²OT's weight, found in closed form from the target share."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowprior.couplings import transport_cost
from flowprior.couplings.costs import condition_distance, condition_weight, squared_distances
from flowprior.couplings.ot import OTCoupling
from flowprior.couplings.plans import assignment
from flowprior.errors import CouplingError


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_squared_distances_against_the_definition(dtype: torch.dtype) -> None:
    x1, x0 = torch.randn(7, 2, 3, dtype=dtype), torch.randn(5, 2, 3, dtype=dtype)
    before = x1.clone(), x0.clone()
    expected = (x1[:, None].double() - x0[None].double()).square().sum((2, 3))
    cost = squared_distances(x1, x0)
    assert cost.dtype == torch.float64
    torch.testing.assert_close(cost, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close((x1, x0), before, rtol=0, atol=0)


def test_far_from_the_origin_nothing_cancels() -> None:
    x1 = 1e6 + torch.randn(20, 4, dtype=torch.float64)
    x0 = x1 + 1e-3 * torch.randn(20, 4, dtype=torch.float64)
    expected = (x1[:, None] - x0[None]).square().sum(2)
    torch.testing.assert_close(squared_distances(x1, x0), expected, rtol=1e-6, atol=1e-12)
    assert (squared_distances(x1, x1) >= 0).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e200])
def test_non_finite_costs_raise(bad: float) -> None:
    x = torch.zeros(3, 2, dtype=torch.float64)
    broken = x.clone()
    broken[1, 1] = bad
    for rows in ((broken, x), (x, broken)):
        with pytest.raises(CouplingError, match="not finite"):
            squared_distances(*rows)
    with pytest.raises(CouplingError, match="not finite"):
        OTCoupling().pair(x, broken, torch.zeros(3, dtype=torch.long))


def test_transport_cost_is_the_mean_over_pairs_in_float64() -> None:
    x0, x1 = torch.zeros(4, 1, 2), torch.tensor([1.0, 2.0]).expand(4, 1, 2)
    cost = transport_cost(x0, x1)
    assert cost.dtype == torch.float64
    assert float(cost) == 5.0
    with pytest.raises(CouplingError, match="expected equal shapes"):
        transport_cost(x0, x1[:2])


def batch(n: int, seed: int, classes: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    x1 = torch.randn(n, 3, generator=generator, dtype=torch.float64) + 1.0
    if classes:
        return x0, x1, torch.randint(0, classes, (n,), generator=generator)
    return x0, x1, torch.randn(n, 2, generator=generator, dtype=torch.float64)


def candidates(cost: torch.Tensor, distance: torch.Tensor, weight: float) -> float:
    """Return the share of off-diagonal pairs that are cheaper than the datum's own source sample."""
    cheaper = cost + weight * distance < cost.diagonal()[:, None]
    return float(cheaper.sum()) / (len(cost) * (len(cost) - 1))


@given(n=st.integers(8, 40), seed=st.integers(0, 1000), share=st.floats(0.0, 0.4))
def test_the_weight_leaves_the_wanted_share(n: int, seed: int, share: float) -> None:
    x0, x1, embedding = batch(n, seed)
    cost, distance = squared_distances(x1, x0), condition_distance(embedding)
    weight = condition_weight(cost, distance, share)
    assert weight >= 0.0
    wanted = min(share, candidates(cost, distance, 0.0))
    assert candidates(cost, distance, weight) == pytest.approx(wanted, abs=1.01 / (n * (n - 1)))


def test_an_infinite_weight_is_pairing_within_and_none_pairing_that_ignores() -> None:
    x0, x1, labels = batch(60, 2, classes=5)
    cost = squared_distances(x1, x0)
    within = assignment(cost + 1e9 * condition_distance(labels))
    torch.testing.assert_close(within, OTCoupling(condition="within").pair(x0, x1, labels))
    ignoring = OTCoupling(condition="ignore").pair(x0, x1, labels)
    torch.testing.assert_close(ignoring, assignment(cost))
    for cond in (labels, batch(60, 3)[2]):
        weighted = OTCoupling(condition="weighted", kept_share=1.0).pair(x0, x1, cond)
        torch.testing.assert_close(ignoring, weighted)
