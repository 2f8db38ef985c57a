"""Average of mixtures: its components' density, shrinkage to the covariance within, the held-out density."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from flowprior.mixtures.averaging import (
    Blur,
    Components,
    Regularisation,
    _lloyd,
    _maximise,
    component_log_density,
    fit_average,
    nearer_share,
)


def ring(count: int, seed: int) -> Tensor:
    """A noisy circle: no few Gaussians describe it."""
    generator = torch.Generator().manual_seed(seed)
    angle = 6.2832 * torch.rand(count, generator=generator)
    return torch.stack([angle.cos(), angle.sin()], 1) + 0.1 * torch.randn(count, 2, generator=generator)


def some_components(generator: torch.Generator, count: int = 3, dim: int = 4) -> Components:
    factor = torch.randn(count, dim, dim, generator=generator, dtype=torch.float64)
    cholesky = torch.linalg.cholesky(factor @ factor.mT + torch.eye(dim))
    mean = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return Components(torch.tensor([0.5, 0.3, 0.2]).double().log()[:count], mean, cholesky)


def test_component_densities_are_those_of_torch_in_any_number_of_blocks(generator, monkeypatch):
    parts = some_components(generator)
    x = 3 * torch.randn(50, 4, generator=generator, dtype=torch.float64)
    expected = torch.stack(
        [
            MultivariateNormal(m, scale_tril=s).log_prob(x)
            for m, s in zip(parts.mean, parts.cholesky, strict=True)
        ],
        1,
    )
    torch.testing.assert_close(component_log_density(x, parts.mean, parts.cholesky), expected)
    torch.testing.assert_close(component_log_density(x[:3], parts.mean, parts.cholesky), expected[:3])
    monkeypatch.setattr("flowprior.mixtures.averaging.BLOCK", 40)
    torch.testing.assert_close(component_log_density(x, parts.mean, parts.cholesky), expected)


def test_a_blur_is_that_of_the_blurred_draws(generator):
    parts = some_components(generator)
    blur = Blur(torch.rand(4, generator=generator).double(), torch.rand(4, generator=generator).double())
    blurred = parts.blurred(blur)
    x = blur.apply(parts.draw(40_000, generator), generator)
    y = blurred.draw(40_000, generator)
    torch.testing.assert_close(x.mean(0), y.mean(0), rtol=0, atol=0.06)
    torch.testing.assert_close(x.T.cov(), y.T.cov(), rtol=0.05, atol=0.1)


def test_one_component_is_the_gaussian_of_the_rows(generator):
    x = torch.randn(20_000, 3, generator=generator) @ torch.randn(3, 3, generator=generator) + 0.5
    fitted = fit_average(x, 1, 4, Regularisation(8.0, 0.0, torch.eye(3).double()), generator)
    assert len(fitted.logits) == 1, "members of one component would all be the same"
    torch.testing.assert_close(fitted.mean[0], x.mean(0).double(), rtol=0, atol=1e-3)
    covariance = fitted.cholesky[0] @ fitted.cholesky[0].T
    torch.testing.assert_close(covariance, x.T.cov(correction=0).double(), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(("shrinkage", "floor"), [(0.0, 0.5), (3.0, 0.0)])
def test_a_maximisation_is_that_of_the_formula_for_components_of_no_row_and_of_one(
    shrinkage, floor, generator
):
    x = torch.randn(12, 3, generator=generator, dtype=torch.float64) + 1
    x[11] = 1e3  # whose share is negligible
    share = torch.zeros(12, 4, dtype=torch.float64)
    share[0, 1], share[1:11, 2] = 1, torch.linspace(0.01, 0.09, 10)
    share[1:11, 3], share[11, 3] = 1 - share[1:11, 2], 5e-5
    around = torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 3.0]], dtype=torch.float64)
    found = _maximise(x, share, Regularisation(shrinkage, floor, around))
    count, scatters = share.sum(0), []
    for k in range(4):
        mean = sum(r * row for r, row in zip(share[:, k], x, strict=True)) / (count[k] + 1)
        torch.testing.assert_close(found.mean[k], mean)
        scatters.append(
            sum(r * (row - mean).outer(row - mean) for r, row in zip(share[:11, k], x[:11], strict=True))
        )
    within = (sum(scatters) + 3 * around) / 15
    for k, weight in enumerate([0, 1, 0.5, 9.5]):
        covariance = torch.zeros(3, 3, dtype=torch.float64)
        if weight + shrinkage:
            covariance = (scatters[k] + shrinkage * within) / (count[k] + shrinkage)
        covariance += max(floor, 1e-5 * float(covariance.trace()) / 3) * torch.eye(3)
        torch.testing.assert_close(found.cholesky[k] @ found.cholesky[k].T, covariance)
    torch.testing.assert_close(found.logits.exp(), count / 12)


def test_a_centre_of_no_row_is_left_out_and_the_others_are_counted_on(generator):
    x = torch.randn(40, 2, generator=generator) + torch.tensor([[0.0], [50.0]]).repeat(20, 1)
    owner = _lloyd(x, torch.tensor([[900.0, 0.0], [-1.0, -1.0], [500.0, 500.0], [1.0, 1.0]]))
    assert owner.tolist() == [0, 1] * 20


def test_an_average_has_a_better_held_out_density_than_its_members(generator):
    x, held_out = (torch.cat([ring(n, seed + k) for k in range(3)], 1) for n, seed in ((500, 0), (2000, 10)))
    to = Regularisation(8.0, 1e-3, torch.eye(6).double())
    one, six = (
        fit_average(x, 20, members, to, generator).log_density(held_out.double()).mean() for members in (1, 6)
    )
    assert six > one + 0.2


def test_shrinkage_draws_components_to_the_covariance_within_them(generator):
    x = ring(300, 0)
    near = fit_average(x, 10, 1, Regularisation(1e6, 0.0, torch.eye(2).double()), generator)
    covariance = near.cholesky @ near.cholesky.mT
    torch.testing.assert_close(covariance, covariance[:1].expand_as(covariance), rtol=1e-2, atol=1e-4)
    assert covariance[0].diagonal().max() < 0.2, "not the covariance of the whole ring, 0.5"


def test_new_draws_of_the_same_law_are_half(generator):
    x, own, other = torch.randn(3, 3000, 5, generator=generator)
    assert abs(nearer_share(x, own, other) - 0.5) < 0.04


def test_ties_count_half_and_nothing_tells_nothing():
    zero = torch.zeros(4, 2)
    assert nearer_share(zero, zero, zero) == 0.5
    assert nearer_share(zero[:0], zero, zero) == 0.5
    assert nearer_share(zero, zero, zero[:0]) == 0.5
    assert nearer_share(zero, zero[:0], zero) == 0.5


def test_far_from_the_origin_a_copy_is_still_known(generator):
    own, other = torch.randn(2, 100, 3, generator=generator) + 1e4
    assert (nearer_share(own, own, other), nearer_share(other, own, other)) == (1, 0)
