from __future__ import annotations

from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowprior.couplings.plans import assignment


@given(n=st.integers(1, 7), seed=st.integers(0, 10_000), ties=st.booleans())
def test_optimal_against_all_permutations(n: int, seed: int, ties: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    cost = torch.randn(n, n, generator=generator, dtype=torch.float64)
    cost = cost.round() if ties else cost
    rows = torch.arange(n)
    best = min(float(cost[rows, list(p)].sum()) for p in permutations(range(n)))
    found = assignment(cost)
    assert sorted(found.tolist()) == list(range(n))
    assert float(cost[rows, found].sum()) == pytest.approx(best, abs=1e-12)


def test_the_cost_is_left_as_it_was() -> None:
    cost = torch.rand(5, 5, dtype=torch.float64)
    before = cost.clone()
    assignment(cost)
    torch.testing.assert_close(cost, before, rtol=0, atol=0)
