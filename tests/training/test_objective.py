"""The objective: timestep distributions, weights of the loss, and DDPM's prediction of the noise."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from pathlib import Path as FilePath

import pytest
import torch
from torch import Tensor

from flowprior import Flow, train
from flowprior.data import TensorData
from flowprior.errors import CheckpointError, OptionError
from flowprior.flow.predictions import SINGLE_TIMES
from flowprior.paths import VPPath
from flowprior.training.loop import training_step
from flowprior.training.objective import LossWeight, TimeDistribution
from tests.flow_folder import redescribe

from .conftest import SHORT, begun, components, small_net

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


# -- DDPM's objective -----------------------------------------------------------------------------


DDPM = {"prior": "gaussian", "coupling": "condot", "path": "vp", "prediction": "epsilon"}


def test_the_loss_is_that_of_the_noise(points: TensorData) -> None:
    """Mean of (ε_θ(α x1 + σ ε, t, c) − ε)² (Ho et al. 2020, eq. 14), on the pairs and times of the run."""
    state, pairs = begun(replace(components(points, prediction="epsilon"), path=VPPath()))
    noise, x1, cond = pairs.micro_batch(0)
    t = torch.rand(8, generator=state.randomness.generator("time", 0))
    alpha, sigma, *_ = VPPath().coefficients(t)
    predicted = small_net()(alpha[:, None] * x1 + sigma[:, None] * noise, t, cond)
    expected = (predicted - noise).square().mean()
    assert training_step(state, pairs).item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_flow_follows_the_velocity_of_its_prediction(points: TensorData, tmp_path: FilePath) -> None:
    """Also one that is loaded; guiding the noise guides the velocity, which is linear in it."""
    flow = train(points, **DDPM, model="mlp:width=16", condition_dropout=0.2, out=tmp_path / "run", **SHORT)
    x, t, labels = torch.randn(5, 2), torch.rand(5), torch.arange(5) % 3
    alpha, sigma, alpha_dot, sigma_dot = (c[:, None] for c in flow.path.coefficients(t))
    with torch.no_grad():
        noise = flow.model(x, t, labels)
        own, null = flow.velocity(x, t, labels), flow.velocity(x, t, torch.full_like(labels, 3))
        torch.testing.assert_close(own, alpha_dot * (x - sigma * noise) / alpha + sigma_dot * noise)
        torch.testing.assert_close(flow.velocity(x, t, labels, 3.0), null + 3 * (own - null))
    loaded = Flow.load(tmp_path / "run")
    assert flow.prediction == loaded.prediction == "epsilon"
    for sampler, nfe in (("euler", 7), ("heun", 8), ("ddim", 7), ("ancestral", 7)):
        first, second = (
            f.solve(labels, sampler=sampler, nfe=nfe, generator=torch.Generator().manual_seed(0))
            for f in (flow, loaded)
        )
        assert first.nfe == nfe
        torch.testing.assert_close(first.x, second.x)


def test_trained_on_a_gaussian_it_predicts_the_noise_that_is_there() -> None:
    """E[ε | x] = σ (x − α m) / (α² s² + σ²) for data N(m, s²); the trained network comes near it."""
    x = 2.0 + 0.5 * torch.randn(2000, 1, generator=torch.Generator().manual_seed(0))
    options = {"steps": 200, "batch_size": 256, "lr": 1e-2, "ema": 0.97, "warmup": 20, "device": "cpu"}
    flow = train(x, **DDPM, model="mlp:width=32,depth=2", **options)
    t = torch.linspace(0, 0.95, 20).repeat_interleave(40)
    alpha, sigma, *_ = (c[:, None] for c in flow.path.coefficients(t))
    spread = (alpha**2 * 0.25 + sigma**2).sqrt()
    points = alpha * 2.0 + spread * torch.randn(800, 1, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        predicted: Tensor = flow.model(points, t, None)
    exact = sigma * (points - alpha * 2.0) / spread.square()
    assert float((predicted - exact).square().mean()) < 0.02
    samples = flow.sample(n=2000, sampler="ancestral", nfe=50, generator=torch.Generator().manual_seed(2))
    assert float(samples.mean()) == pytest.approx(2.0, abs=0.1)
    assert float(samples.std()) == pytest.approx(0.5, abs=0.1)


def test_the_path_has_to_fit_the_prediction(points: TensorData) -> None:
    with pytest.raises(OptionError, match=r"'epsilon' needs a path that keeps a trace.*got path 'condot'"):
        train(points, prior="gaussian", coupling="condot", prediction="epsilon", model=small_net(), **SHORT)


def test_an_unknown_prediction(points: TensorData, tmp_path: FilePath) -> None:
    folder = tmp_path / "flow"
    train(points, **DDPM, model="mlp:width=16", **SHORT).save(folder)
    redescribe(folder, prediction="speed")
    with pytest.raises(CheckpointError, match="unknown prediction 'speed'"):
        Flow.load(folder)
