"""Woodbury and the determinant lemma against dense matrices and torch.distributions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import LowRankMultivariateNormal, MultivariateNormal

from flowprior.ops.mixture import lowrank_log_density, lowrank_posterior_sample

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
SIZES = [(1, 1, 1), (5, 2, 3), (5, 5, 1), (40, 8, 2)]


def parameters(dim: int, rank: int, components: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """mean ``[K, D]``, factor ``[K, D, r]`` and noise ``[K, D]`` in float64."""
    mean = torch.randn(components, dim, generator=generator, dtype=torch.float64)
    factor = torch.randn(components, dim, rank, generator=generator, dtype=torch.float64)
    noise = 0.1 + torch.rand(components, dim, generator=generator, dtype=torch.float64)
    return mean, factor, noise


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize(("dim", "rank", "components"), SIZES)
@pytest.mark.parametrize("distance", [1.0, 1e3])
def test_density_is_that_of_torch_distributions(dtype, dim, rank, components, distance, generator):
    mean, factor, noise = parameters(dim, rank, components, generator)
    step = torch.randn(30, dim, generator=generator, dtype=torch.float64)
    x = mean[:1] + distance * step
    x, mean, factor, noise = (tensor.to(dtype) for tensor in (x, mean, factor, noise))
    actual = lowrank_log_density(x, mean, factor, noise)
    assert actual.dtype == dtype
    assert actual.shape == (30, components)
    law = LowRankMultivariateNormal(mean.double(), factor.double(), noise.double())
    dense = MultivariateNormal(law.loc, law.covariance_matrix)
    expected = dense.log_prob(x.double()[:, None])
    torch.testing.assert_close(actual.double(), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    if dtype == torch.float64 and distance == 1.0:
        torch.testing.assert_close(actual, law.log_prob(x[:, None]), rtol=1e-8, atol=1e-8)


def test_density_stays_accurate_along_a_factor_far_stronger_than_the_noise(generator):
    """Where the naive Woodbury form subtracts two numbers 10⁸ times their difference."""
    mean, factor, noise = parameters(12, 3, 1, generator)
    factor, noise = factor * 30, noise * 1e-4
    z = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    x = mean + z @ factor[0].T + noise.sqrt() * torch.randn(20, 12, generator=generator, dtype=torch.float64)
    single = lowrank_log_density(*(tensor.float() for tensor in (x, mean, factor, noise)))
    inputs = (tensor.float().double() for tensor in (x, mean, factor, noise))
    torch.testing.assert_close(single.double(), lowrank_log_density(*inputs), rtol=1e-2, atol=0.05)


def test_latents_have_the_mean_and_covariance_of_the_dense_conditional(generator):
    """z | x ~ N(Wᵀ Σ⁻¹ (x − μ), I − Wᵀ Σ⁻¹ W), Σ = W Wᵀ + diag(ψ)."""
    mean, factor, noise = (tensor[0] for tensor in parameters(7, 3, 1, generator))
    x = mean + 2 * torch.randn(5, 7, generator=generator, dtype=torch.float64)
    gain = torch.linalg.solve(factor @ factor.T + noise.diag(), factor).T
    centre = lowrank_posterior_sample(x, mean, factor, noise, torch.zeros(5, 3).double())
    torch.testing.assert_close(centre, (x - mean) @ gain.T, rtol=1e-10, atol=1e-10)
    unit = torch.eye(3, dtype=torch.float64)
    spread = lowrank_posterior_sample(x[:1].expand(3, -1), mean, factor, noise, unit) - centre[:1]
    expected = unit - gain @ factor
    torch.testing.assert_close(spread.T @ spread, expected, rtol=1e-10, atol=1e-10)
