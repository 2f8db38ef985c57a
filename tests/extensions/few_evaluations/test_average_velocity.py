"""The average velocity over an interval: what a network is trained on, and one evaluation."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowprior import Coupling, Flow, Path, Prior, train
from flowprior.conditions import Condition
from flowprior.data import TensorData
from flowprior.errors import OptionError
from flowprior.extensions.few_evaluations.average_velocity import AverageVelocity
from flowprior.models.base import MODELS
from flowprior.samplers import Sampler
from flowprior.training import state
from flowprior.training.components import resolve_config
from tests.extensions.conftest import refused

MEAN, DEVIATION = 2.0, 0.5
"""Of the data of one dimension that a flow from N(0, 1) leads to."""


class Exact(nn.Module):
    """The average velocity from N(0, 1) to N(MEAN, DEVIATION²) with independent pairs on the straight path.

    The flow carries x_t, of mean t MEAN and deviation σ_t, to the same quantile of x_s.
    """

    def forward(self, x: Tensor, t: Tensor, cond: None = None) -> Tensor:
        begin, end = (t, t) if t.dim() == 1 else t.unbind(1)
        length = (end - begin).clamp_min(1e-4)
        end = begin + length
        now, then = (((1 - time) ** 2 + (time * DEVIATION) ** 2).sqrt() for time in (begin, end))
        carried = (end * MEAN)[:, None] + (then / now)[:, None] * (x - (begin * MEAN)[:, None])
        return (carried - x) / length[:, None]


def normal_prior() -> Prior:
    return Prior.create("gaussian").fit((torch.randn(100, 1), None))


@pytest.mark.parametrize("nfe", [1, 2, 7])
def test_steps_by_the_exact_average_have_no_error(nfe):
    """Any number of evaluations ends where the flow does, one evaluation included."""
    parts = normal_prior(), Coupling.create("condot"), Path.create("condot"), Condition()
    flow = Flow(Exact().double(), *parts, prediction="average-velocity").double()
    x0 = torch.randn(100, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    solver = Sampler.registry.resolve(flow.default_sampler)
    found = solver.solve(flow.guided(), x0, None, nfe=nfe)
    assert found.nfe == nfe
    torch.testing.assert_close(found.x, MEAN + DEVIATION * x0, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("network", "share", "least", "most"),
    [
        (Exact(), 0.0, 0, 0.01),
        (Exact(), 0.002, 0, 0.01),
        (Exact(), 1.0, 0.2, 9),
        # The velocity at the beginning, in place of the average.
        (lambda x, t, cond: Exact()(x, t[:, 0], cond), 0.0, 0.05, 9),
    ],
    ids=["derivative", "difference", "the pairs' own velocity, at first", "another network changes"],
)
def test_the_mean_of_what_is_learned_is_the_average_velocity(network, share, least, most):
    """Where the network says the exact average, targets differ from it by what has mean zero at every x.

    The coefficients of 1, x and x² in what they have beyond what the network says at x_t.
    """
    generator = torch.Generator().manual_seed(1)
    x0, x1 = torch.randn(2, 200_000, 1, dtype=torch.float64, generator=generator)
    x1 = MEAN + DEVIATION * x1
    t, last = torch.full((2, len(x0)), 0.2, dtype=torch.float64) + torch.tensor([[0.0], [0.7]])
    path = Path.create("condot")
    x, u, _ = path.interpolate(x0, x1, t)
    prediction = AverageVelocity(normal_prior().double(), Coupling.create("condot"), path)
    times = torch.stack([t, t + share * (last - t), last], 1)
    said, target = prediction.compared(network, x0, x, u, times, None)
    design = torch.cat([torch.ones_like(x), x, x.square()], 1)
    left = torch.linalg.lstsq(design, target - said).solution[:, 0]
    assert least <= float(left.abs().max()) < most


class Wave(nn.Module):
    """A network with a derivative in everything that it is given."""

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        shown = x.view(len(x), -1, 6).sin()
        return shown.sum(1) + (2 * t[:, :1]).cos() * t[:, 1:]


def test_the_derivative_and_a_short_difference_agree(data, prior):
    """Of a preconditioned network, whose inputs, offset and scale change along the path as well."""
    coupling, path = Coupling.create("posterior"), Path.create("condot")
    prediction = AverageVelocity(prior, coupling, path)
    x1, cond = data.x[:64], data.cond[:64]
    x0 = coupling.draw(prior, x1, cond, generator=torch.Generator().manual_seed(0))
    t, end = torch.full((64,), 0.3), torch.full((64,), 0.8)
    x, u, _ = path.interpolate(x0, x1, t)
    derivative, difference = (
        prediction.compared(Wave(), x0, x, u, torch.stack([t, t + step, end], 1), cond)[1]
        for step in (0.0, 0.002)
    )
    error = (derivative - difference).norm() / (derivative - u).norm()
    assert float(error) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("split", [0.0, 0.02])
def test_a_trained_network_carries_a_normal_law_onto_another_in_one_evaluation(split):
    """From N(0, 1) to N(MEAN, DEVIATION²): the average velocity over [0, 1] is MEAN + (DEVIATION − 1) x.

    One step of the velocity itself would carry every sample to the mean, with a deviation of 0.
    """
    x1 = MEAN + DEVIATION * torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0))
    flow = train(
        TensorData(x1), prior="gaussian", coupling="condot", model="mlp:width=64", steps=1500, seed=0,
        prediction="average-velocity", time=f"interval:deviation=2,split={split}", batch_size=256, ema=0.99,
    )  # fmt: skip
    x0 = torch.linspace(-2, 2, 41)[:, None]
    said = flow.average_velocity(x0, torch.zeros(41), torch.ones(41)).detach()
    exact = MEAN + (DEVIATION - 1) * x0
    assert float((said - exact).abs().mean()) < 0.1
    found = flow.sample(n=20_000, nfe=1, generator=torch.Generator().manual_seed(1))
    assert float(found.mean()) == pytest.approx(MEAN, abs=0.05)
    assert float(found.std()) == pytest.approx(DEVIATION, abs=0.1)


def test_as_many_rows_are_looked_at_at_every_step_whatever_the_times():
    """Rows that no derivative is asked for are not left out, and a batch without intervals has one, too."""
    calls: list[int] = []

    def network(x: Tensor, t: Tensor, cond: None) -> Tensor:
        calls.append(len(x))
        return Exact()(x, t, cond)

    prediction = AverageVelocity(normal_prior(), Coupling.create("condot"), Path.create("condot"))
    x0, x1 = torch.randn(2, 8, 1, generator=torch.Generator().manual_seed(0))
    begin = torch.tensor([0.1, 0.2, 0.8, 0.9, 0.3, 0.3, 0.3, 0.3])
    end = torch.tensor([1.0, 0.5, 1.0, 1.0, 0.3, 0.3, 0.3, 0.3])
    x, u, _ = Path.create("condot").interpolate(x0, x1, begin)

    def target(split: Tensor, last: Tensor) -> Tensor:
        return prediction.compared(network, x0, x, u, torch.stack([begin, split, last], 1), None)[1]

    nearly = target(torch.where(begin < 0.5, begin + 0.001, end).minimum(end), end)
    assert calls == [8, 4, 4]
    torch.testing.assert_close(nearly[2:], u[2:])
    assert not torch.allclose(nearly[:2], u[:2])
    exact = target(torch.where(begin < 0.5, begin, end), end)
    torch.testing.assert_close(exact, nearly, rtol=0.02, atol=0.02)
    calls.clear()
    torch.testing.assert_close(target(begin, begin), u)
    assert len(calls) == 3


def test_a_sampler_of_learned_averages_needs_a_network_of_them(data, prior):
    parts = nn.Identity(), prior, Coupling.create("posterior"), Path.create("condot"), Condition("labels", 2)
    with pytest.raises(OptionError, match="needs a flow of prediction 'average-velocity', got 'velocity'"):
        Flow(*parts).sample(data.cond[:4], nfe=1, sampler="flow-map")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prediction": "average-velocity", "time": "uniform"}, "is not trained on; use time 'auto'"),
        ({"prediction": "velocity", "time": "interval"}, "is not trained on; use time 'auto'"),
        ({"prediction": "auto", "time": "interval"}, "is not trained on; use time 'auto'"),
        (
            {"prediction": "average-velocity", "precision": "bfloat16"},
            "of which bfloat16 keeps too few digits; choose precision float32",
        ),
    ],
)
def test_what_a_prediction_is_not_trained_with_is_refused(options, message):
    with refused(message, OptionError):
        train("moons", prior="gaussian", coupling="condot", steps=1, **options)


SMALL: dict[str, Any] = {
    "data": "moons",
    "prior": "latent-gmm:rank=1,components=2",
    "coupling": "posterior",
    "model": "mlp:width=8,depth=1",
    "steps": 8,
    "warmup": 1,
    "batch_size": 32,
    "device": "cpu",
}


def test_a_network_is_compiled_to_few_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many rows are looked at in every step, whatever the times: else each number would be a graph."""
    monkeypatch.setattr(state, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    plain, graph = (train(**SMALL, prediction="average-velocity", compile=what) for what in ("none", "model"))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(graph.state_dict()[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_times_suit_the_sampler_also_of_a_coupling_that_is_given(tmp_path: FilePath) -> None:
    flow = train(**SMALL, prediction="average-velocity", out=tmp_path)
    assert flow.default_sampler == Flow.load(tmp_path).default_sampler == "flow-map:grid=last,at=0.7"
    for given in ("given:origin=posterior", Coupling.create("given", origin="posterior")):
        config = resolve_config(
            None, {"prediction": "average-velocity"}, prior=SMALL["prior"], coupling=given
        )
        assert config.training.time == "interval:last=0.7"


def test_a_network_that_cannot_be_told_intervals_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODELS, "_records", dict(MODELS._records))
    MODELS.register("alone")(lambda event_shape, condition: nn.Identity())
    prediction = AverageVelocity(normal_prior(), Coupling.create("condot"), Path.create("condot"))
    with pytest.raises(OptionError, match="model 'alone' is told one time alone; choose another model"):
        prediction.network("alone", torch.Size([1]), Condition())
