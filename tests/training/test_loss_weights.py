"""Weights of the loss: what they multiply, and what they need."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from flowprior.errors import OptionError
from flowprior.training import train
from flowprior.training.objective import LossWeight


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


@pytest.mark.parametrize("option", ["time", "loss_weight"])
def test_an_unknown_name_is_refused_before_anything_is_done(option: str) -> None:
    with pytest.raises(ValueError, match=r"unknown .*; did you mean|unknown .* known: "):
        train("moons", steps=1, **{option: "unifrom"})
