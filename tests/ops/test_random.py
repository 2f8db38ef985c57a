"""Random numbers: their distributions, and that the generator decides them alone."""

from __future__ import annotations

import math

import pytest
import torch

from flowprior.ops import gmm_sample
from flowprior.ops.backend import native_devices
from flowprior.ops.gmm_sample import plain_gmm_sample
from flowprior.ops.operators import draw_seed, normal, uniform

CPU, DOUBLE = torch.device("cpu"), torch.empty(0, dtype=torch.float64)
NATIVE = pytest.param(
    "native", marks=pytest.mark.skipif("cpu" not in native_devices(), reason="no native operators")
)


def noise_of(back_end: str, rows: int, dim: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Standard normal rows: draws of a mixture of one component, natively or by plain torch."""
    mean, one = torch.zeros(1, 1, dim, dtype=dtype), torch.ones(1, 1, 1, dtype=dtype)
    arguments = (one[0], mean, one, torch.zeros(rows, dtype=torch.long))
    generator = torch.Generator().manual_seed(seed)
    if back_end == "torch":
        return plain_gmm_sample(*arguments, generator)[0]
    return gmm_sample(*arguments, generator=generator)[0]


def distance(sorted_probabilities: torch.Tensor) -> float:
    """Kolmogorov-Smirnov's distance from the uniform distribution, times the root of the count.

    1.95 is exceeded with probability 0.001.
    """
    n = len(sorted_probabilities)
    grid = (torch.arange(n) + 0.5) / n
    return float((sorted_probabilities - grid).abs().max()) * n**0.5


@pytest.mark.parametrize("back_end", [NATIVE, "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_is_normal_in_every_column_and_in_its_tails(back_end, dtype):
    draws = noise_of(back_end, 60_000, 5, dtype, 1).double()
    n = len(draws)
    for column in draws.T:
        assert distance(0.5 * torch.erfc(-column.sort().values / math.sqrt(2))) < 1.95
        # Even moments E x^(2k) = (2k − 1)!!, odd ones 0, within 5 standard errors.
        for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3), (6, 15)):
            values = column**power
            assert abs(float(values.mean()) - moment) < 5 * float(values.std()) / n**0.5
    for bound in (3.0, 4.0):  # within 5 standard errors of a Poisson count
        expected = draws.numel() * math.erfc(bound / math.sqrt(2))
        assert abs(int((draws.abs() > bound).sum()) - expected) < 5 * expected**0.5


@pytest.mark.parametrize("back_end", [NATIVE, "torch"])
def test_columns_neighbours_and_seeds_are_independent(back_end):
    n = 50_000
    draws = noise_of(back_end, n, 9, torch.float64, 2).T
    other = noise_of(back_end, n, 1, torch.float64, 3).T
    table = torch.cat([draws, other, draws[:1].roll(1)])
    for values in (table, table.square()):
        off = torch.corrcoef(values) - torch.eye(len(table)).double()
        assert off.abs().max() < 5 / n**0.5


def test_uniform_numbers_are_uniform(generator):
    numbers = uniform(50_000, CPU, generator)
    assert numbers.dtype == torch.float64
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert distance(numbers.sort().values) < 1.95
    assert uniform(0, CPU).shape == (0,)


@pytest.mark.parametrize(
    "draw",
    [
        lambda generator: normal(40, 9, like=DOUBLE, generator=generator),
        lambda generator: uniform(40, CPU, generator),
        lambda generator: draw_seed(generator, CPU),
    ],
)
def test_numbers_depend_on_their_generator_alone(draw):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again, other = (draw(torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before), "torch's global generator is left alone"
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    default = draw(None)
    torch.manual_seed(1)
    assert torch.equal(default, draw(None)), "None means torch's own"


@pytest.mark.parametrize("back_end", [NATIVE, "torch"])
def test_threads_change_no_draw(back_end):
    before, draws = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            draws.append(noise_of(back_end, 700, 300, torch.float32, 4))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(draws[0], draw) for draw in draws[1:])


def test_a_generator_of_the_cpu_serves_tensors_of_another_device():
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    meta = torch.empty(0, device="meta")
    assert normal(2, 3, like=meta, generator=generators[0]).device == meta.device
    assert uniform(2, meta.device, generators[0]).device == meta.device
    assert draw_seed(generators[0], meta.device).device == meta.device
    for draw in (
        normal(2, 3, like=meta.new_empty(0, device="cpu"), generator=generators[1]),
        uniform(2, CPU, generators[1]),
    ):
        assert draw.isfinite().all()
    draw_seed(generators[1], CPU)
    assert torch.equal(*(generator.get_state() for generator in generators)), "it drew as much"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_noise_has_the_dtype_of_its_tensor(dtype, generator):
    noise = normal(300, 70, like=torch.empty(0, dtype=dtype), generator=generator)
    assert noise.dtype == dtype
    assert abs(float(noise.float().std()) - 1) < 5 / (2 * noise.numel()) ** 0.5
