"""Sufficient statistics, and what shrinkage adds to them."""

from __future__ import annotations

import pytest
import torch

from flowprior.mixtures.covariance import Statistics


def gather(full: bool) -> tuple[Statistics, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two conditions of two components; the last component of the second has no rows."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 50, 3, generator=generator, dtype=torch.float64)
    weight = torch.rand(2, 50, 2, generator=generator, dtype=torch.float64)
    weight[1, :, 1] = 0
    reference = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    centred = x - reference[:, None]
    statistics = Statistics(2, 2, 3, full=full)
    statistics.count += weight.sum(1)
    statistics.first += torch.einsum("cnk,cni->cki", weight, centred)
    pattern = "cnk,cni,cnj->ckij" if full else "cnk,cni,cni->cki"
    statistics.second += torch.einsum(pattern, weight, centred, centred)
    return statistics, x, weight, reference


@pytest.mark.parametrize("full", [False, True])
def test_without_shrinkage_these_are_weighted_moments_about_the_mean(full):
    statistics, x, weight, reference = gather(full)
    pooled = torch.eye(3).double().expand(2, 3, 3) if full else torch.ones(2, 3).double()
    offset = torch.full((2, 3), 0.25).double()
    _, first, covariance = statistics.regularised(offset, pooled, 0.0)
    for c, k in ((0, 0), (0, 1), (1, 0)):
        mean = (weight[c, :, k, None] * x[c]).sum(0) / weight[c, :, k].sum()
        torch.testing.assert_close(reference[c] + first[c, k], mean)
        expected = x[c].T.cov(correction=0, aweights=weight[c, :, k])
        torch.testing.assert_close(covariance[c, k], expected if full else expected.diagonal())
    torch.testing.assert_close(first[1, 1], offset[1], msg="an empty component takes the pooled mean")
    shift = offset[1].outer(offset[1]) if full else offset[1].square()
    torch.testing.assert_close(covariance[1, 1], pooled[1] - shift, msg="and the pooled covariance")


@pytest.mark.parametrize("full", [False, True])
def test_shrinkage_is_worth_that_many_rows_with_the_pooled_moments(full):
    """Adding them as rows of their own gives the same moments."""
    statistics, x, weight, reference = gather(full)
    pooled_mean = torch.tensor([1.0, -2.0, 0.5]).double()
    axes = torch.eye(3).double() * 3**0.5
    pooled_rows = torch.cat([pooled_mean + axes, pooled_mean - axes])
    offset = pooled_mean - reference
    second = offset[:, :, None] * offset[:, None] + torch.eye(3).double()
    second = second if full else second.diagonal(dim1=1, dim2=2)
    count, first, covariance = statistics.regularised(offset, second, 2.5)
    for c, k in ((0, 0), (1, 0), (1, 1)):
        rows = torch.cat([x[c], pooled_rows])
        weights = torch.cat([weight[c, :, k], torch.full((6,), 2.5 / 6).double()])
        assert count[c, k].item() == pytest.approx(weights.sum().item())
        torch.testing.assert_close(
            reference[c] + first[c, k], (weights[:, None] * rows).sum(0) / weights.sum()
        )
        expected = rows.T.cov(correction=0, aweights=weights)
        torch.testing.assert_close(covariance[c, k], expected if full else expected.diagonal())
