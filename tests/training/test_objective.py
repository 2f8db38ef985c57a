"""The objective: timestep distributions against their densities, and what weights of the loss multiply."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from flowprior.errors import OptionError
from flowprior.flow.predictions import SINGLE_TIMES
from flowprior.training import train
from flowprior.training.objective import LossWeight, TimeDistribution

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


def test_output_scale_goes_from_equal_weights_of_the_velocity_to_equal_weights_of_the_output() -> None:
    scale = torch.tensor([[0.5, 2.0], [1.0, 4.0]])
    t = torch.zeros(2)
    assert torch.equal(LossWeight.create("output-scale", power=0.0).weight(t, scale), torch.ones(2, 2))
    assert torch.equal(LossWeight.create("output-scale").weight(t, scale), scale**-2)
    torch.testing.assert_close(LossWeight.create("output-scale", power=0.5).weight(t, scale), 1 / scale)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_adaptive_weights_have_the_gradient_of_a_robust_loss(power: float) -> None:
    """(e + c)^(1 − power)/(1 − power) of each event's squared error e, pseudo-Huber at ½; at 1 log(e + c)."""
    said, target = torch.randn(2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    said.requires_grad_()
    weight = LossWeight.create("adaptive", power=power, floor=0.3)
    errors = (said - target).square().mean(1)
    weighed = (weight.of_errors(errors.detach()) * errors).mean()
    robust = (errors + 0.3).log() if power == 1 else (errors + 0.3) ** (1 - power) / (1 - power)
    found, expected = (
        torch.autograd.grad(loss, said, retain_graph=True)[0] for loss in (weighed, robust.mean())
    )
    torch.testing.assert_close(found, expected)


def test_a_training_weighs_by_errors() -> None:
    """One step with power 0 is the plain step; with 1 the gradient is another."""
    options = {"prior": "gaussian", "coupling": "condot", "prediction": "velocity", "steps": 2, "warmup": 0}
    plain, zero, one = (
        torch.cat([p.flatten() for p in train("moons", loss_weight=spec, **options).model.parameters()])
        for spec in ("none", "adaptive:power=0", "adaptive")
    )
    torch.testing.assert_close(plain, zero)
    assert not torch.allclose(plain, one)


def test_validation_measures_the_errors_themselves(tmp_path: Path) -> None:
    """Weights that follow the errors would let a worse network look as good; untrained, both are alike."""
    losses = []
    for spec in ("none", "adaptive:power=2"):
        out = tmp_path / spec.partition(":")[0]
        train(
            "moons:n=200", prior="gaussian", coupling="condot", prediction="velocity", steps=1, warmup=0,
            lr=1e-12, validation=40, loss_weight=spec, out=out,
        )  # fmt: skip
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        losses.append(next(line["validation_loss"] for line in lines if "validation_loss" in line))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_no_weight_sends_a_gradient_to_what_it_is_made_of() -> None:
    """A prior that is trained with its flow would else widen what its own errors are divided by."""
    scale = torch.full((3, 2), 0.5, requires_grad=True)
    weight = LossWeight.create("output-scale").weight(torch.zeros(3), scale)
    assert weight is not None
    assert not weight.requires_grad


def test_a_prediction_without_output_scale_is_refused() -> None:
    with pytest.raises(OptionError, match=r"needs prediction 'preconditioned'.*got 'velocity'"):
        train("moons", prior="gaussian", coupling="condot", steps=1, loss_weight="output-scale")
