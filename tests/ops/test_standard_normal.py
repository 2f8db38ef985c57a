"""Standard normal noise: law and tails, and that seed, stream and place decide each number alone."""

from __future__ import annotations

import math

import pytest
import torch

from flowprior.errors import InputError
from flowprior.ops import Stream, draw_seed, standard_normal

FLOAT = torch.empty(0)


def normal_cdf(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * torch.erfc(-x / math.sqrt(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("column", [0, 1, 2, 3])
def test_every_column_of_a_group_is_normal(dtype, column, generator):
    n = 100_000
    noise = standard_normal(n, 4, torch.empty(0, dtype=dtype), generator)[:, column].double().sort().values
    grid = (torch.arange(n) + 0.5) / n
    # Kolmogorov-Smirnov: 1.95 / sqrt(n) is exceeded with probability 0.001.
    assert (normal_cdf(noise) - grid).abs().max() < 1.95 / n**0.5
    # Even moments E x^(2k) = (2k − 1)!!, odd ones 0, within 5 standard errors.
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3), (5, 0), (6, 15)):
        values = noise**power
        assert abs(float(values.mean()) - moment) < 5 * float(values.std()) / n**0.5


def test_tails_beyond_four_and_five_deviations(generator):
    """As many as the law says, within 5 standard errors of a Poisson count; four million numbers."""
    noise = standard_normal(1000, 4096, FLOAT, generator).abs()
    n = noise.numel()
    for bound in (3.0, 4.0, 4.5, 5.0):
        expected = n * math.erfc(bound / math.sqrt(2))
        found = int((noise > bound).sum())
        assert abs(found - expected) < 5 * max(expected, 1.0) ** 0.5, bound
    assert noise.max() > 4.9


def test_neighbours_streams_and_seeds_are_independent(generator):
    n = 50_000
    seed = draw_seed(generator, "cpu")
    draws = [
        standard_normal(n, 1, FLOAT.double(), seed)[:, 0],
        standard_normal(n, 1, FLOAT.double(), seed, stream=Stream.COMPONENT)[:, 0],
        standard_normal(n, 1, FLOAT.double(), seed, stream=Stream.LATENT)[:, 0],
        standard_normal(n, 1, FLOAT.double(), seed + 1)[:, 0],
        standard_normal(n, 1, FLOAT.double(), seed + (1 << 32))[:, 0],
        *standard_normal(n, 9, FLOAT.double(), seed + 2).T,
    ]
    draws.append(draws[0].roll(1))
    table = torch.stack(draws)
    off = torch.corrcoef(table) - torch.eye(len(draws)).double()
    assert off.abs().max() < 5 / n**0.5
    off = torch.corrcoef(table.square()) - torch.eye(len(draws)).double()
    assert off.abs().max() < 5 / n**0.5


def test_a_number_depends_on_its_place_alone():
    seed = torch.tensor([77])
    long = standard_normal(100, 50, FLOAT, seed)
    for n, dim in ((1, 1), (3, 7), (100, 49), (2, 50)):
        assert torch.equal(standard_normal(n, dim, FLOAT, seed), long[:n, :dim])
    wide = standard_normal(3, 100_003, FLOAT, seed)
    assert torch.equal(wide[:, :50], long[:3])


def test_noise_depends_on_its_generator_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = standard_normal(4, 2, FLOAT, torch.Generator().manual_seed(5))
    assert torch.equal(torch.get_rng_state(), before), "torch's global generator is left alone"
    assert torch.equal(first, standard_normal(4, 2, FLOAT, torch.Generator().manual_seed(5)))
    assert not torch.equal(first, standard_normal(4, 2, FLOAT, torch.Generator().manual_seed(6)))
    default = standard_normal(4, 2, FLOAT, None)
    torch.manual_seed(1)
    assert torch.equal(default, standard_normal(4, 2, FLOAT, None)), "None means torch's own"


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 2e-6), (torch.bfloat16, 2.0**-8), (torch.float16, 2.0**-10)]
)
def test_other_dtypes_are_the_same_numbers_rounded(dtype, bound):
    exact = standard_normal(33, 129, FLOAT.double(), 3)
    rounded = standard_normal(33, 129, torch.empty(0, dtype=dtype), 3)
    assert rounded.dtype == dtype
    torch.testing.assert_close(rounded.double(), exact, rtol=bound, atol=1e-7)


@pytest.mark.parametrize(("n", "dim"), [(0, 5), (5, 0), (0, 0)])
def test_nothing_is_asked_for(n, dim):
    assert standard_normal(n, dim, FLOAT, 1).shape == (n, dim)


def test_noise_asks_for_no_gradient():
    assert not standard_normal(2, 2, torch.ones(1, requires_grad=True), 1).requires_grad


@pytest.mark.parametrize(
    ("n", "dim", "like"), [(-1, 2, FLOAT), (2, -1, FLOAT), (2, 2, torch.empty(0, dtype=torch.long))]
)
def test_impossible_requests(n, dim, like):
    with pytest.raises(InputError, match="standard_normal: expected n >= 0, dim >= 0 and a floating-point"):
        standard_normal(n, dim, like, 1)
