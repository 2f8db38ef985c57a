"""Metrics of the flow and of a sampler's steps: closed forms, bits per dimension, where there are none."""

from __future__ import annotations

import math

import pytest
import torch

from flowprior.data import Data, TensorData
from flowprior.evaluation import Result, evaluate
from flowprior.flow import Flow
from flowprior.metrics import bits_per_dimension
from flowprior.metrics.bits import divergence_for, levels_of
from flowprior.metrics.setup import Reference
from flowprior.samplers import Sampler
from tests.gaussian_flow import GaussianVelocity, LinearVelocity, flow_of

GROWTH = 0.8
METRICS = ["truncation", "curvature", "path-energy", "nll"]


def growing() -> Flow:
    """x' = a x in float32, from a standard normal."""
    return flow_of(lambda x, t, cond: GROWTH * x, event=(2,), dtype=torch.float32)


def data(generator: torch.Generator) -> tuple[TensorData, TensorData]:
    return TensorData(torch.randn(80, 2, generator=generator)), TensorData(
        2 * torch.randn(60, 2, generator=generator)
    )


def evaluated(generator: torch.Generator, **options: object) -> Result:
    train, test = data(generator)
    chosen = {"nfe": [2, 4], "samples": 50, "metrics": METRICS, **options}
    return evaluate(growing(), train, reference=test, **chosen)  # type: ignore[arg-type]


def starts() -> torch.Tensor:
    flow = growing()
    return flow.coupling.source(flow.prior, None, 50, generator=torch.Generator().manual_seed(0))


def test_truncation_errors_are_of_the_very_starts_of_the_samples(generator: torch.Generator) -> None:
    found = evaluated(generator)
    size = starts().square().mean().sqrt().item()
    for steps in (2, 4):
        h = 1 / steps
        total = math.exp(GROWTH) - (1 + GROWTH * h) ** steps
        local = math.exp(GROWTH * h) - 1 - GROWTH * h
        spread = math.sqrt(sum(math.exp(2 * GROWTH * h * k) for k in range(steps)) / steps)
        assert found.value("global_error", steps) == pytest.approx(total * size, rel=1e-3)
        assert found.value("local_error", steps) == pytest.approx(local * size * spread, rel=1e-3)
    assert found.metrics["global_error"].samples == 50
    assert "dopri5 to 1e-05" in found.metrics["local_error"].description


def test_curvature_and_energy_are_those_of_the_growing_line(generator: torch.Generator) -> None:
    found = evaluated(generator)
    squares = starts().square().sum(1).mean().item()
    energy = GROWTH * math.expm1(2 * GROWTH) / 2 * squares
    moved = math.expm1(GROWTH) ** 2 * squares
    assert found.value("curvature") == pytest.approx(energy - moved, rel=1e-3)
    # a scaling of a cloud is its own optimal transport
    assert found.value("path_energy") == pytest.approx(energy / moved - 1, rel=1e-3)
    assert {"curvature", "path_energy", "nll_bits"} <= set(found.metrics)


def test_bits_are_those_of_the_wider_normal(generator: torch.Generator) -> None:
    state = generator.get_state()
    found = evaluated(generator)
    generator.set_state(state)
    x, _ = Reference(data(generator)[1], "test").subset(60)
    normal = torch.distributions.Normal(0.0, math.exp(GROWTH))
    expected = -normal.log_prob(x).mean().item() / math.log(2)
    assert found.value("nll_bits") == pytest.approx(expected, rel=1e-3)
    metric = found.metrics["nll_bits"]
    assert "no dequantisation, exact divergence" in metric.description
    assert (metric.samples, metric.reference) == (60, "60 test examples of tensors")


def test_an_adaptive_sampler_has_no_local_error_and_a_stochastic_one_none(generator: torch.Generator) -> None:
    found = evaluated(generator, sampler="bosh3", metrics="truncation")
    assert found.select(metric="local_error") == []
    assert found.select(metric="global_error")[0]["value"] < 1e-3

    class Noisy(type(Sampler.create("euler"))):  # type: ignore[misc]
        stochastic = True

    found = evaluated(generator, sampler=Noisy(), metrics="truncation")
    assert found.select(metric=("global_error", "local_error")) == []


def test_dequantised_pictures_are_scored_in_their_own_cells(generator: torch.Generator) -> None:
    levels = torch.randint(0, 256, (30, 4), generator=generator)
    x = levels.double() / 127.5 - 1
    state = generator.get_state()
    zero, one = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    flow = flow_of(GaussianVelocity((zero, one), (zero, 0.7 * one)), event=(4,))
    found = bits_per_dimension(flow, x, levels=256, generator=generator)
    generator.set_state(state)
    noise = torch.rand(x.shape, generator=generator, dtype=torch.float64)
    points = 2 * (levels + noise) / 256 - 1
    bits = -torch.distributions.Normal(0.0, 0.7).log_prob(points).mean(1) / math.log(2)
    torch.testing.assert_close(found, bits + 7, rtol=1e-3, atol=1e-3)


def test_levels_are_read_off_the_data(digits: tuple[Data, Data], generator: torch.Generator) -> None:
    x, _ = digits[0].batch(torch.arange(50))
    assert levels_of(x) == 17
    bytes_ = torch.randint(0, 256, (20, 9), generator=generator)
    assert levels_of(bytes_.float() / 127.5 - 1) == 256
    assert levels_of((bytes_ % 2).float() * 2 - 1) == 2
    assert levels_of(torch.rand(20, 9, generator=generator)) is None
    assert levels_of(torch.tensor([[-1.0, 3.0]])) is None


def test_large_events_are_estimated_without_bias(generator: torch.Generator) -> None:
    assert (divergence_for(16), divergence_for(17)) == ("exact", "hutchinson")
    velocity = LinearVelocity(3)
    x = torch.randn(1, 3, generator=generator, dtype=torch.float64).expand(400, 3)
    exact = bits_per_dimension(flow_of(velocity), x[:1]).item()
    estimates = bits_per_dimension(flow_of(velocity), x, divergence="hutchinson", generator=generator)
    assert estimates.std() > 0
    assert estimates.mean().item() == pytest.approx(exact, abs=4 * estimates.std().item() / 20)
