"""DDPM's objective: the network predicts the noise, the flow it leaves follows its velocity."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path as FilePath

import pytest
import torch
from torch import Tensor

from flowprior import Flow, train
from flowprior.data import TensorData
from flowprior.errors import CheckpointError, OptionError
from flowprior.paths import VPPath
from flowprior.training.loop import training_step
from tests.flow_folder import redescribe

from .conftest import SHORT, begun, components, small_net

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
