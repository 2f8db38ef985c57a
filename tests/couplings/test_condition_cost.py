"""C²OT's weight: found in closed form from the target share of candidates."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowprior.couplings.costs import condition_distance, condition_weight, squared_distances, weighted_cost
from flowprior.couplings.ot import OTCoupling
from flowprior.couplings.plans import assignment


def batch(n: int, seed: int, classes: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    x1 = torch.randn(n, 3, generator=generator, dtype=torch.float64) + 1.0
    if classes:
        return x0, x1, torch.randint(0, classes, (n,), generator=generator)
    return x0, x1, torch.randn(n, 2, generator=generator, dtype=torch.float64)


def candidates(cost: torch.Tensor, distance: torch.Tensor, weight: float) -> float:
    """Share of off-diagonal pairs that are cheaper than the datum's own start."""
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


def test_an_infinite_weight_is_pairing_within() -> None:
    x0, x1, labels = batch(60, 2, classes=5)
    cost = squared_distances(x1, x0) + 1e9 * condition_distance(labels)
    torch.testing.assert_close(assignment(cost), OTCoupling(condition="within").pair(x0, x1, labels))


def test_no_weight_is_pairing_that_ignores_the_condition() -> None:
    x0, x1, embedding = batch(40, 3)
    ignoring = OTCoupling(condition="ignore").pair(x0, x1, embedding)
    weighted = OTCoupling(condition="weighted", kept_share=1.0).pair(x0, x1, embedding)
    torch.testing.assert_close(ignoring, weighted)


@given(seed=st.integers(0, 1000))
def test_a_smaller_share_pairs_nearer_conditions(seed: int) -> None:
    x0, x1, embedding = batch(40, seed)
    spread = []
    for share in (0.4, 0.05, 0.005):
        permutation = OTCoupling(condition="weighted", kept_share=share).pair(x0, x1, embedding)
        spread.append(float((embedding - embedding[permutation]).square().sum(1).mean()))
    assert spread[0] >= spread[1] >= spread[2]


def test_distances_between_conditions() -> None:
    labels = torch.tensor([0, 1, 0])
    assert condition_distance(labels).tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    torch.testing.assert_close(
        condition_distance(points), torch.tensor([[0.0, 25.0], [25.0, 0.0]], dtype=torch.float64)
    )


def test_weighted_cost_on_equal_conditions_is_the_cost() -> None:
    x0, x1, _ = batch(10, 4)
    cost = squared_distances(x1, x0)
    torch.testing.assert_close(weighted_cost(cost, torch.zeros(10, 2), 0.01), cost)
    torch.testing.assert_close(weighted_cost(cost, torch.zeros(10, dtype=torch.long), 0.01), cost)
