"""The gaussian prior: standard, or with the moments of all the data."""

from __future__ import annotations

import pytest
import torch

from flowprior.errors import InputError, OptionError
from flowprior.priors import Prior

MOMENTS = ("standard", "scalar", "diagonal")


def expected_moments(moments: str, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of every dimension."""
    if moments == "standard":
        return torch.zeros(x.shape[1]).to(x), torch.ones(x.shape[1]).to(x)
    if moments == "scalar":
        return x.mean().expand(x.shape[1]), x.var(correction=0).expand(x.shape[1])
    return x.mean(0), x.var(0, correction=0)


@pytest.mark.parametrize("moments", MOMENTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_law_is_the_gaussian_with_those_moments(moments, dtype, three_classes, generator):
    x, labels = three_classes[0].to(dtype), three_classes[1]
    prior = Prior.create("gaussian", moments=moments, reg_covar=0.0).fit((x, labels))
    mean, variance = expected_moments(moments, x.double())
    law = torch.distributions.Normal(mean, variance.sqrt())
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    for log_prob in (prior.log_prob(x, labels), prior.log_prob(x), prior.log_prob_marginal(x)):
        assert log_prob.dtype == dtype
        reference = law.log_prob(x.double()).sum(1)
        torch.testing.assert_close(log_prob.double(), reference, rtol=tolerance, atol=tolerance)
    n = 20_000
    x0 = prior.sample(n=n, generator=generator).double()
    assert ((x0.mean(0) - mean).abs() < 5 * (variance / n).sqrt()).all()
    assert ((x0.var(0) / variance - 1).abs() < 5 * (2 / n) ** 0.5).all()
    torch.testing.assert_close(prior.mean(labels[:3]).double(), mean.expand(3, -1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("moments", MOMENTS)
def test_the_condition_does_not_matter(moments, three_classes):
    x, labels = three_classes
    prior = Prior.create("gaussian", moments=moments).fit(three_classes)
    draws = [
        prior.sample(cond, n, generator=torch.Generator().manual_seed(0))
        for cond, n in ((labels, None), (torch.randn(600, 3), None), (None, 600))
    ]
    assert torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], draws[2])
    marginal = prior.sample_marginal(600, generator=torch.Generator().manual_seed(0))
    assert torch.equal(draws[0], marginal)
    assert prior.log_prob(x, labels + 100).isfinite().all()


def test_only_the_standard_one_is_standard_normal():
    flags = [Prior.create("gaussian", moments=moments).is_standard_normal for moments in MOMENTS]
    assert flags == [True, False, False]
    assert not Prior.create("gmm").is_standard_normal


def test_the_mean_is_the_callers_own_memory(three_classes):
    prior = Prior.create("gaussian", moments="diagonal").fit(three_classes)
    before = prior.loc.clone()
    prior.mean(n=1).add_(1)
    prior.mean(n=3)[0] = 7
    assert torch.equal(prior.loc, before)


def test_a_floor_keeps_constant_dimensions_proper():
    x = torch.tensor([[1.0, 2.0], [3.0, 2.0]])
    prior = Prior.create("gaussian", moments="diagonal", reg_covar=0.25).fit(x)
    assert prior.var.tolist() == pytest.approx([1.25, 0.25])
    with pytest.raises(InputError, match=r"gaussian\.fit: a dimension is constant and reg_covar=0"):
        Prior.create("gaussian", moments="diagonal", reg_covar=0.0).fit(x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"moments": "diag"}, "moments='diag' is not possible; did you mean 'diagonal'"),
        ({"reg_covar": -1.0}, "expected reg_covar to be a finite number >= 0, got -1.0"),
        ({"reg_covar": None}, "reg_covar=None is not possible; expected a finite number"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(OptionError, match=message):
        Prior.create("gaussian", **options)
