"""The laws of the times of a training step, against their densities."""

from __future__ import annotations

import math

import pytest
import torch

from flowprior.errors import OptionError
from flowprior.flow.predictions import SINGLE_TIMES
from flowprior.training.objective import TimeDistribution

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
    laws = [TimeDistribution.create(name) for name in TimeDistribution.available()]
    single = {law.name for law in laws if law.draws == SINGLE_TIMES}
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


@pytest.mark.parametrize(
    ("spec", "option"),
    [
        ("logit-normal:deviation=0", "deviation"),
        ("u-shaped:steepness=0", "steep"),
    ],
)
def test_impossible_options(spec: str, option: str) -> None:
    with pytest.raises(OptionError, match=f"expected {option}"):
        TimeDistribution.registry.resolve(spec)
