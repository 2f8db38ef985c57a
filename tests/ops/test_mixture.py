"""Component log-densities against torch.distributions, dense or low-rank; frequencies of the choice."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    LowRankMultivariateNormal,
    MultivariateNormal,
)

from flowprior.ops.mixture import (
    lowrank_log_density,
    lowrank_posterior_sample,
    select_component,
    triangular_log_density,
)
from tests.native.parity import UNRULY

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
DTYPES = list(TOLERANCE)
SIZES = [(1, 1), (2, 3), (7, 4), (64, 2)]


def close(actual: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """``actual`` is in ``dtype`` and equal to the float64 reference to the dtype's tolerance."""
    assert actual.dtype == dtype
    torch.testing.assert_close(actual.double(), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def points(mean: Tensor, spread: Tensor, generator: torch.Generator) -> Tensor:
    """Rows near each mean, and rows 1000 standard deviations away from the first."""
    step = torch.randn(20, mean.shape[1], generator=generator, dtype=torch.float64)
    near = (mean[:, None] + step * spread).flatten(0, 1)
    far = mean[:1] + 1e3 * spread * torch.nn.functional.normalize(step[:8], dim=1)
    return torch.cat([near, far])


def cholesky_factors(components: int, dim: int, generator: torch.Generator) -> Tensor:
    """Lower factors of well-conditioned covariances, ``[K, D, D]``."""
    factor = torch.randn(components, dim, dim, generator=generator, dtype=torch.float64).tril(-1)
    diagonal = 0.5 + torch.rand(components, dim, generator=generator, dtype=torch.float64)
    return factor / dim**0.5 + diagonal.diag_embed()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("dim", "components"), SIZES)
@pytest.mark.parametrize("tied", [False, True])
def test_triangular_density_is_that_of_torch_distributions(dtype, dim, components, tied, generator):
    mean = torch.randn(components, dim, generator=generator, dtype=torch.float64)
    factor = cholesky_factors(1 if tied else components, dim, generator)
    x = points(mean, factor[0].diagonal(), generator)
    x, mean, factor = (tensor.to(dtype) for tensor in (x, mean, factor))
    reference = MultivariateNormal(
        mean.double(), scale_tril=factor.double().expand(components, -1, -1), validate_args=False
    )
    close(triangular_log_density(x, mean, factor), reference.log_prob(x.double()[:, None]), dtype)


def test_several_conditions_at_once_are_each_by_itself(generator):
    x, mean = (torch.randn(2, n, 3, generator=generator, dtype=torch.float64) for n in (5, 4))
    factor = torch.rand(2, 4, 3, 3, generator=generator, dtype=torch.float64).tril() + torch.eye(3)
    noise, xi = 0.5 + torch.rand(2, 4, 3).double(), torch.randn(2, 5, 3).double()
    for function, arguments in (
        (triangular_log_density, (x, mean, factor)),
        (triangular_log_density, (x, mean, factor[:, :1])),
        (lowrank_log_density, (x, mean, factor, noise)),
        (lowrank_posterior_sample, (x, mean[:, 0], factor[:, 0], noise[:, 0], xi)),
    ):
        each = [function(*own) for own in zip(*arguments, strict=True)]
        torch.testing.assert_close(function(*arguments), torch.stack(each))


def test_each_row_has_weights_of_its_own():
    logits = torch.full((3, 3), -torch.inf)
    logits[0, 2] = logits[1, 0] = logits[2, 1] = 0
    assert select_component(logits, torch.tensor([0.0, 0.5, 0.999])).tolist() == [2, 0, 1]


@pytest.mark.parametrize("uniform", [0.0, 1e-300, 0.5, 1 - 2**-53])
def test_no_uniform_number_leads_to_an_excluded_or_missing_component(uniform):
    logits = torch.tensor([[-torch.inf, -1e4, 0.3, -800.0, -torch.inf]], dtype=torch.float64)
    assert select_component(logits, torch.tensor([uniform], dtype=torch.float64)).item() == 2


@pytest.mark.parametrize("uniform", [0.0, 0.3, 1 - 2**-53])
@pytest.mark.parametrize(("logits", "allowed"), UNRULY.items(), ids=str)
def test_nan_and_infinite_weights_give_an_index_in_range(logits, allowed, uniform):
    chosen = select_component(torch.tensor([logits]), torch.tensor([uniform], dtype=torch.float64))
    assert chosen.item() in allowed


@pytest.mark.parametrize("shape", [(3,), (4, 3)])
def test_inverse_of_the_cumulative_sum(shape):
    logits = torch.tensor([0.25, 0.5, 0.25]).log().expand(shape)
    assert select_component(logits, torch.tensor([0.2, 0.3, 0.7, 0.8])).tolist() == [0, 1, 1, 2]


def test_no_rows_give_no_components():
    assert select_component(torch.zeros(0, 3), torch.zeros(0)).shape == (0,)


# -- low-rank components --------------------------------------------------------------------------


LOWRANK_SIZES = [(1, 1, 1), (5, 2, 3), (5, 5, 1), (40, 8, 2)]


def parameters(dim: int, rank: int, components: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """mean ``[K, D]``, factor ``[K, D, r]`` and noise ``[K, D]`` in float64."""
    mean = torch.randn(components, dim, generator=generator, dtype=torch.float64)
    factor = torch.randn(components, dim, rank, generator=generator, dtype=torch.float64)
    noise = 0.1 + torch.rand(components, dim, generator=generator, dtype=torch.float64)
    return mean, factor, noise


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize(("dim", "rank", "components"), LOWRANK_SIZES)
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
