"""Pairing of 1,024 source samples and pictures: within ten classes, and torchcfm's, which knows none."""

from __future__ import annotations

from functools import cache, partial

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from benchmarks.operators.groups import QUICK, WHOLE, Group, time_row
from benchmarks.operators.peers import Call, peer
from benchmarks.operators.problem import pictures
from flowprior import Coupling

PAIRS = 1024
WAYS = (WHOLE, "scipy in a loop over classes", "torchcfm")


@cache
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Source samples, pictures and their labels."""
    x0 = torch.randn(PAIRS, 784, generator=torch.Generator().manual_seed(0))
    return x0, pictures().x[:PAIRS], pictures().y[:PAIRS]


def by_scipy(x0: Tensor, x1: Tensor, labels: Tensor) -> Tensor:
    """What one writes oneself: squared distances and an assignment for each class."""
    permutation = torch.empty(PAIRS, dtype=torch.long)
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0]
        cost = torch.cdist(x1[rows], x0[rows]).square()
        permutation[rows] = rows[torch.from_numpy(linear_sum_assignment(cost.numpy())[1])]
    return permutation


def by_torchcfm() -> Call:
    sampler = peer("torchcfm.optimal_transport").OTPlanSampler(method="exact")
    return partial(sampler.sample_plan, *batch()[:2])


@cache
def pairing() -> Group:
    ours = partial(Coupling.create("ot", condition="within").pair, *batch())
    scipy = partial(by_scipy, *batch())
    name = f"ot.pair, {PAIRS:,} source samples and {pictures().name} x 784"
    return Group(name, dict(zip(WAYS, (lambda: ours, lambda: scipy, by_torchcfm), strict=True)))


@QUICK
@pytest.mark.parametrize("way", WAYS)
def test_pair(benchmark, way):
    time_row(benchmark, pairing(), way)
    if way == "torchcfm":
        return
    x0, x1, labels = batch()
    permutation = pairing().call(way)()
    assert torch.equal(permutation.sort().values, torch.arange(PAIRS))
    assert torch.equal(labels[permutation], labels)
    cost = (x0[permutation] - x1).square().sum()
    torch.testing.assert_close(cost, (x0[by_scipy(*batch())] - x1).square().sum(), rtol=1e-3, atol=0.0)
