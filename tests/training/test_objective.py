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
    distributions = [TimeDistribution.create(name) for name in TimeDistribution.available()]
    single = {times.name for times in distributions if times.draws == SINGLE_TIMES}
    assert {spec.partition(":")[0] for spec in DENSITIES} == single


@pytest.mark.parametrize("spec", DENSITIES)
def test_quantiles_invert_the_distribution_function(spec: str) -> None:
    """The integral of the density up to the quantile of q is q; draws are quantiles of uniform numbers."""
    times = TimeDistribution.registry.resolve(spec)
    quantiles = torch.tensor([0.02, 0.2, 0.45, 0.5, 0.8, 0.99], dtype=torch.float64)
    for q, t in zip(quantiles.tolist(), times.at(quantiles).tolist(), strict=True):
        grid = torch.linspace(1e-9, t, 20_001, dtype=torch.float64)
        assert float(torch.trapezoid(DENSITIES[spec](grid), grid)) == pytest.approx(q, abs=1e-5)
    drawn = times.draw(1000, 0.0, torch.Generator().manual_seed(1), CPU)
    assert torch.equal(drawn, times.at(torch.rand(1000, generator=torch.Generator().manual_seed(1))))
    assert 0 <= float(drawn.min()) < float(drawn.max()) <= 1


@pytest.mark.parametrize("spec", ["logit-normal:deviation=0", "u-shaped:steepness=0"])
def test_impossible_options(spec: str) -> None:
    with pytest.raises(OptionError, match=f"expected {spec.partition(':')[2].partition('=')[0]}"):
        TimeDistribution.registry.resolve(spec)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_adaptive_weights_have_the_gradient_of_a_robust_loss(power: float) -> None:
    """(e + c)^(1 − power)/(1 − power) of each event's squared error e, pseudo-Huber at ½; at 1 log(e + c)."""
    output, target = torch.randn(2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    output.requires_grad_()
    weighed = LossWeight.create("adaptive", power=power, floor=0.3).loss(output, target)
    errors = (output - target).square().mean(1)
    robust = (errors + 0.3).log() if power == 1 else (errors + 0.3) ** (1 - power) / (1 - power)
    found, expected = (
        torch.autograd.grad(loss, output, retain_graph=True)[0] for loss in (weighed, robust.mean())
    )
    torch.testing.assert_close(found, expected)


def test_a_training_weighs_by_errors_and_validation_does_not(tmp_path: Path) -> None:
    """One step with power 0 is the plain step, with 2 another; what is measured are the errors themselves."""
    gradients, losses = [], []
    for spec in ("none", "adaptive:power=0", "adaptive:power=2"):
        out = tmp_path / spec.replace(":", "-")
        flow = train(
            "moons:n=200", prior="gaussian", coupling="condot", prediction="velocity", steps=1, warmup=0,
            clip=0, ema=0, beta2=0.5, lr=1e-9, validation=40, loss_weight=spec, out=out,
        )  # fmt: skip
        state = torch.load(out / "checkpoints" / "step-000001" / "training.pt", weights_only=True)
        gradients.append(
            torch.cat([value["exp_avg"].flatten() for value in state["optimizer"]["state"].values()])
        )
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        losses.append(next(line["validation_loss"] for line in lines if "validation_loss" in line))
        assert flow.metadata["config"]["training"]["loss_weight"] == spec
    plain, zero, two = gradients
    torch.testing.assert_close(plain, zero)
    assert not torch.allclose(plain, two)
    assert losses[0] == pytest.approx(losses[2], rel=1e-5)
