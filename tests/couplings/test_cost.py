from __future__ import annotations

import pytest
import torch

from flowprior.couplings import transport_cost
from flowprior.couplings.costs import squared_distances
from flowprior.errors import CouplingError


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_squared_distances_against_the_definition(dtype: torch.dtype) -> None:
    x1, x0 = torch.randn(7, 2, 3, dtype=dtype), torch.randn(5, 2, 3, dtype=dtype)
    expected = (x1[:, None].double() - x0[None].double()).square().sum((2, 3))
    cost = squared_distances(x1, x0)
    assert cost.dtype == torch.float64
    torch.testing.assert_close(cost, expected, rtol=1e-12, atol=1e-12)


def test_far_from_the_origin_nothing_cancels() -> None:
    x1 = 1e6 + torch.randn(20, 4, dtype=torch.float64)
    x0 = x1 + 1e-3 * torch.randn(20, 4, dtype=torch.float64)
    expected = (x1[:, None] - x0[None]).square().sum(2)
    torch.testing.assert_close(squared_distances(x1, x0), expected, rtol=1e-6, atol=1e-12)
    assert (squared_distances(x1, x1) >= 0).all()


def test_the_rows_are_left_as_they_were() -> None:
    x1, x0 = torch.randn(2, 6, 4, dtype=torch.float64)
    before = x1.clone(), x0.clone()
    squared_distances(x1, x0)
    torch.testing.assert_close((x1, x0), before, rtol=0, atol=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e200])
def test_non_finite_costs_raise(bad: float) -> None:
    x = torch.zeros(3, 2, dtype=torch.float64)
    broken = x.clone()
    broken[1, 1] = bad
    with pytest.raises(CouplingError, match="not finite"):
        squared_distances(broken, x)


def test_transport_cost_is_the_mean_over_pairs_in_float64() -> None:
    x0, x1 = torch.zeros(4, 1, 2), torch.tensor([1.0, 2.0]).expand(4, 1, 2)
    cost = transport_cost(x0, x1)
    assert cost.dtype == torch.float64
    assert float(cost) == 5.0
    with pytest.raises(CouplingError, match="expected equal shapes"):
        transport_cost(x0, x1[:2])
