"""Paths with noise on the way: their closed forms, what they train, and what refuses them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from flowprior import train
from flowprior.errors import OptionError
from flowprior.paths.noisy import BridgePath

PARTS: dict[str, Any] = {"prior": "gaussian", "coupling": "condot", "model": "mlp:width=32,depth=1"}
PLAIN: dict[str, Any] = {"device": "cpu", "progress": False}


@pytest.mark.parametrize("constant", [False, True])
def test_points_have_the_variance_of_the_noise_and_the_velocity_is_its_derivative(
    constant: bool, generator: torch.Generator
) -> None:
    path, count = BridgePath(0.5, constant), 200_000
    x0, x1 = torch.tensor([1.0, -2.0]).repeat(2, count // 2).unbind()
    for time in (0.2, 0.5, 0.9):
        t = torch.full((count,), time)
        x, u, _ = path.interpolate(x0, x1, t, generator=generator)
        noise, change = x - (t * x1 + (1 - t) * x0), u - (x1 - x0)
        variance = 0.25 if constant else 0.25 * time * (1 - time)
        assert noise.var().item() == pytest.approx(variance, rel=0.02)
        derivative = 0.0 if constant else 0.25 * (1 - 2 * time)
        assert 2 * (noise * change).mean().item() == pytest.approx(derivative, abs=5e-3)


def test_a_bridge_begins_and_ends_without_noise(generator: torch.Generator) -> None:
    x0, x1 = torch.randn(2, 6, 3, generator=generator)
    for time, end in ((0.0, x0), (1.0, x1)):
        x, u, _ = BridgePath(1.0).interpolate(x0, x1, torch.full((6,), time))
        torch.testing.assert_close(x, end)
        assert u.isfinite().all()


def test_a_training_is_repeated_by_its_seed_and_the_noise_is_part_of_it() -> None:
    x = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    paths = ("bridge:sigma=1", "bridge:sigma=1", "bridge:sigma=0", "condot")
    weights = [
        torch.cat([value.flatten() for value in flow.model.state_dict().values()])
        for flow in (train(x, path=path, steps=3, lr=0.1, **PARTS, **PLAIN) for path in paths)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(weights[2], weights[3]), "without noise it is the straight path"


def test_a_flow_on_a_bridge_reaches_its_data() -> None:
    """One Gaussian to another: the mean and the variance of the samples are those of the data."""
    x = 0.5 * torch.randn(2000, 1, generator=torch.Generator().manual_seed(0)) + 2
    flow = train(x, path="bridge:sigma=0.5", steps=600, lr=0.01, ema=0.99, **PARTS, **PLAIN)
    samples = flow.sample(n=2000, nfe=30, generator=torch.Generator().manual_seed(1))
    assert samples.mean().item() == pytest.approx(2, abs=0.06)
    assert samples.std().item() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
    ("options", "sampler", "message"),
    [
        ({"prediction": "residual"}, None, "prediction 'residual' needs a path without noise"),
        ({"prediction": "preconditioned"}, None, "prediction 'preconditioned' needs a path without noise"),
        ({"prediction": "average-velocity"}, None, "needs a path without noise"),
        ({"prediction": "epsilon"}, None, "keeps a trace of the data sample"),
        ({}, "exponential", "sampler 'exponential' needs a path without noise"),
        ({}, "euler:start=0.3", "start=0.3 needs a path without noise"),
        ({}, "ddim", "sampler 'ddim' needs a path without noise"),
        ({"path": "bridge:sigma=-1"}, None, "expected sigma to be a number from 0"),
    ],
)
def test_what_needs_x0_and_x1_of_a_point_is_refused(
    options: dict[str, Any], sampler: str | None, message: str
) -> None:
    def sampled() -> None:
        flow = train((x, torch.arange(60) % 2), model="mlp:width=8,depth=1", steps=1, **PLAIN, **parts)
        assert flow.prediction == "velocity", "chosen, for the law holds on paths without noise"
        flow.sample(torch.zeros(4, dtype=torch.long), sampler=sampler)

    parts = {"prior": "latent-gmm:rank=1,components=1", "coupling": "posterior", "path": "bridge", **options}
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(OptionError, match=message):
        sampled()
