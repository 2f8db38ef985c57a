"""The laws of the times of a training step, against their densities."""

from __future__ import annotations

import math

import pytest
import torch

from flowprior.errors import OptionError
from flowprior.training.times import TimeDistribution

CPU = torch.device("cpu")


def logit_normal(t: torch.Tensor, mean: float, deviation: float) -> torch.Tensor:
    z = torch.logit(t)
    return torch.exp(-0.5 * ((z - mean) / deviation) ** 2) / (
        deviation * math.sqrt(2 * math.pi) * t * (1 - t)
    )


def u_shaped(t: torch.Tensor, steepness: float) -> torch.Tensor:
    both = torch.exp(steepness * t) + torch.exp(steepness * (1 - t))
    return both * steepness / (2 * math.expm1(steepness))


DENSITIES = {
    "uniform": lambda t: torch.ones_like(t),
    "logit-normal": lambda t: logit_normal(t, 0.0, 1.0),
    "logit-normal:mean=0.8,deviation=0.5": lambda t: logit_normal(t, 0.8, 0.5),
    "u-shaped": lambda t: u_shaped(t, 4.0),
    "u-shaped:steepness=1": lambda t: u_shaped(t, 1.0),
}


def test_every_distribution_is_tried() -> None:
    single = {name for name in TimeDistribution.available() if not TimeDistribution.create(name).of_intervals}
    assert {spec.partition(":")[0] for spec in DENSITIES} == single


@pytest.mark.parametrize("spec", DENSITIES)
def test_quantiles_invert_the_distribution_function(spec: str) -> None:
    """The integral of the density up to the quantile of q is q."""
    quantiles = torch.tensor([0.02, 0.2, 0.45, 0.5, 0.8, 0.99], dtype=torch.float64)
    times = TimeDistribution.registry.resolve(spec).at(quantiles)
    for q, t in zip(quantiles.tolist(), times.tolist(), strict=True):
        grid = torch.linspace(1e-9, t, 20_001, dtype=torch.float64)
        assert float(torch.trapezoid(DENSITIES[spec](grid), grid)) == pytest.approx(q, abs=1e-5)


@pytest.mark.parametrize("spec", DENSITIES)
def test_draws_follow_the_density_and_the_generator(spec: str) -> None:
    law = TimeDistribution.registry.resolve(spec)
    times = law.draw(200_000, 0.0, torch.Generator().manual_seed(1), CPU)
    again = law.draw(200_000, 0.0, torch.Generator().manual_seed(1), CPU)
    assert torch.equal(times, again)
    assert float(times.min()) >= 0
    assert float(times.max()) <= 1
    edges = torch.linspace(0, 1, 11, dtype=torch.float64)
    shares = torch.histogram(times.double(), edges).hist / len(times)
    for share, low, high in zip(shares.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        grid = torch.linspace(max(low, 1e-9), min(high, 1 - 1e-9), 2001, dtype=torch.float64)
        assert share == pytest.approx(float(torch.trapezoid(DENSITIES[spec](grid), grid)), abs=5e-3)


def intervals(progress: float, count: int = 100_000, **options: float) -> tuple[torch.Tensor, ...]:
    """Beginning, split and end of intervals, and which are longer than 0."""
    law = TimeDistribution.create("interval", **options)
    begin, split, end = law.draw(count, progress, torch.Generator().manual_seed(1), CPU).unbind(1)
    return begin, split, end, end > begin


def test_intervals_are_two_times_in_order_and_the_rest_have_no_length() -> None:
    begin, split, end, apart = intervals(1.0, apart=0.25, split=0.1)
    assert float(apart.float().mean()) == pytest.approx(0.25, abs=1e-4)
    assert bool((begin <= split).all())
    assert bool((split <= end).all())
    torch.testing.assert_close(split[apart], (begin + 0.1 * (end - begin))[apart])
    both = torch.cat([begin[apart], end[apart]]).double()
    law = TimeDistribution.create("logit-normal", deviation=1.4)
    alone = law.draw(len(both), 0.0, torch.Generator().manual_seed(2), CPU).double()
    for times in (both, begin[~apart].double()):
        shares = [torch.histogram(t, 10, range=(0, 1)).hist / len(t) for t in (times, alone)]
        torch.testing.assert_close(*shares, rtol=0, atol=0.01)


@pytest.mark.parametrize("rows", [16, 33])
def test_every_micro_batch_has_its_share_of_intervals(rows: int) -> None:
    *_, apart = intervals(0.5, apart=0.75)
    shares = torch.stack([part.float().mean() for part in apart.split(rows)[:-1]])
    assert float((shares - 0.75).abs().max()) <= 1 / rows


def test_the_split_comes_nearer_to_the_beginning_as_the_training_goes_on() -> None:
    shares = []
    for progress in (0.0, 0.25, 0.5, 0.9):
        begin, split, end, apart = intervals(progress, split=0.01, anneal=0.5)
        long = apart & (end - begin > 0.1)
        shares.append(float(((split - begin) / (end - begin))[long].mean()))
    assert shares == pytest.approx([1.0, 0.1, 0.01, 0.01], rel=1e-3)


def test_without_annealing_the_split_is_where_it_stays() -> None:
    begin, split, *_ = intervals(0.0, split=0.0)
    assert torch.equal(begin, split)


def test_intervals_into_the_last_step_end_with_it() -> None:
    """Beyond ``last`` one step of the velocity leads to 1: nothing is split, and no split lies there."""
    begin, split, end, _ = intervals(1.0, last=0.7, split=0.5, apart=1.0)
    assert bool(((end <= 0.7) | (end == 1.0)).all())
    late = begin >= 0.69
    assert bool((begin >= 0.7).any())
    assert torch.equal(split[late], end[late])
    assert float(split[~late].max()) <= 0.7


@pytest.mark.parametrize(
    ("spec", "option"),
    [
        ("interval:apart=2", "apart"),
        ("interval:last=0", "last"),
        ("logit-normal:deviation=0", "deviation"),
        ("u-shaped:steepness=0", "steep"),
    ],
)
def test_impossible_options(spec: str, option: str) -> None:
    with pytest.raises(OptionError, match=f"expected {option}"):
        TimeDistribution.registry.resolve(spec)
