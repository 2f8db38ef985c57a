"""Metrics of the flow and of a sampler's steps through evaluate: closed forms, and where there are none."""

from __future__ import annotations

import math

import pytest
import torch

from flowprior.data import TensorData
from flowprior.evaluation import Result, evaluate
from flowprior.flow import Flow
from flowprior.metrics.setup import Reference
from flowprior.samplers import Sampler
from tests.gaussian_flow import flow_of

GROWTH = 0.8
METRICS = ["truncation", "curvature", "path-energy", "nll:count=50"]


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
    x, _ = Reference(data(generator)[1], "test").subset(50)
    normal = torch.distributions.Normal(0.0, math.exp(GROWTH))
    expected = -normal.log_prob(x).mean().item() / math.log(2)
    assert found.value("nll_bits") == pytest.approx(expected, rel=1e-3)
    metric = found.metrics["nll_bits"]
    assert "no dequantisation, exact divergence" in metric.description
    assert (metric.samples, metric.reference) == (50, "50 of 60 test examples of tensors")


def test_an_adaptive_sampler_has_no_local_error(generator: torch.Generator) -> None:
    found = evaluated(generator, sampler="bosh3", metrics="truncation")
    assert found.select(metric="local_error") == []
    assert found.select(metric="global_error")[0]["value"] < 1e-3


def test_a_stochastic_sampler_has_no_truncation_error(generator: torch.Generator) -> None:
    class Noisy(type(Sampler.create("euler"))):  # type: ignore[misc]
        stochastic = True

    found = evaluated(generator, sampler=Noisy(), metrics="truncation")
    assert found.select(metric=("global_error", "local_error")) == []
