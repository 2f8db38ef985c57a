"""The average velocity over an interval: its closed form, what a network is trained on, one evaluation."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from flowprior import Coupling, Flow, Path, Prior, train
from flowprior.conditions import Condition
from flowprior.data import TensorData
from flowprior.errors import OptionError
from flowprior.flow.average_velocity import AverageVelocity
from flowprior.flow.linear_velocity import LinearVelocity
from flowprior.flow.pair_moments import Chord, PairMoments
from flowprior.samplers import Sampler

MEAN, DEVIATION = 2.0, 0.5
"""Of the data of one dimension that a flow from N(0, 1) leads to."""


@pytest.mark.parametrize("coupling", ["condot", "posterior"])
@pytest.mark.parametrize("path", ["condot", "condot:sigma_min=0.1", "cosine"])
@pytest.mark.parametrize(("begin", "end"), [(0.0, 1.0), (0.3, 0.4)])
def test_the_linear_velocity_leads_where_its_average_says(
    data, prior, coupling, path, begin, end, monkeypatch
):
    """Two hundred Heun steps of the linear velocity end where one step by its closed-form average does.

    The variance outside of the subspace is made the same everywhere: else the axes of the linear velocity
    turn a little on the way, by up to a hundredth of it here.
    """
    monkeypatch.setattr(PairMoments, "outside", property(lambda self: torch.full_like(self.frame.loc, 0.3)))
    paired, route = Coupling.create(coupling), Path.registry.resolve(path)
    linear, x, cond = LinearVelocity(prior, paired, route), data.x[:64], data.cond[:64]
    times = torch.linspace(begin, end, 201)
    state = x
    for t, s in pairwise(times):
        here = linear(state, t.expand(64), cond)
        there = linear(state + (s - t) * here, s.expand(64), cond)
        state = state + (s - t) * (here + there) / 2
    now, then = torch.full((64,), begin), torch.full((64,), end)
    moments = PairMoments.at(prior, paired, route, now, cond)
    average = moments.average_velocity(x, Chord.of(route, now, then, x.dtype))
    error, way = x + (end - begin) * average - state, state - x
    assert float(error.norm()) < 1e-3 * float(way.norm())


@pytest.mark.parametrize("path", ["condot", "cosine", "vp"])
def test_an_interval_without_length_has_the_velocity_itself(data, prior, path):
    route, t = Path.create(path), torch.rand(64, generator=torch.Generator().manual_seed(0))
    moments = PairMoments.at(prior, Coupling.create("posterior"), route, t, data.cond[:64])
    average = moments.average_velocity(data.x[:64], Chord.of(route, t, t, torch.float32))
    torch.testing.assert_close(average, moments.velocity(data.x[:64]), rtol=1e-4, atol=1e-4)


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


def normal_flow(model: nn.Module) -> Flow:
    return Flow(model, normal_prior(), Coupling.create("condot"), Path.create("condot"), Condition(),
                prediction="average-velocity")  # fmt: skip


def test_no_evaluation_is_the_source_alone_and_one_starts_from_it():
    flow = normal_flow(Exact())
    alone, one = (flow.sample(n=50, nfe=n, generator=torch.Generator().manual_seed(0)) for n in (0, 1))
    torch.testing.assert_close(one, MEAN + DEVIATION * alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("nfe", [1, 2, 7])
def test_steps_by_the_exact_average_have_no_error(nfe):
    """Any number of evaluations ends where the flow does, one evaluation included."""
    flow = normal_flow(Exact().double()).double()
    x0 = torch.randn(100, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    solver = Sampler.registry.resolve(flow.default_sampler)
    found = solver.solve(flow.velocity, x0, None, nfe=nfe)
    assert found.nfe == nfe
    torch.testing.assert_close(found.x, MEAN + DEVIATION * x0, rtol=1e-3, atol=1e-3)


def left_of_the_mean(share: float, network: nn.Module, begin: float = 0.2, end: float = 0.9) -> Tensor:
    """Coefficients of 1, x and x² in what training's target has beyond what the network says at x_t."""
    generator = torch.Generator().manual_seed(1)
    x0, x1 = torch.randn(2, 200_000, 1, dtype=torch.float64, generator=generator)
    x1 = MEAN + DEVIATION * x1
    t = torch.full((len(x0),), begin, dtype=torch.float64)
    split, last = t + share * (end - begin), torch.full_like(t, end)
    path = Path.create("condot")
    x, u, _ = path.interpolate(x0, x1, t)
    prediction = AverageVelocity(normal_prior().double(), Coupling.create("condot"), path)
    said, target, _ = prediction.compared(network, x0, x, u, torch.stack([t, split, last], 1), None)
    design = torch.cat([torch.ones_like(x), x, x.square()], 1)
    return torch.linalg.lstsq(design, target - said).solution[:, 0]


@pytest.mark.parametrize("share", [0.0, 0.002])
def test_the_mean_of_what_is_learned_is_the_average_velocity(share):
    """Where the network says the exact average, targets differ from it by what has mean zero at every x."""
    assert float(left_of_the_mean(share, Exact()).abs().max()) < 0.01


def test_at_first_the_velocity_is_learned():
    """With all of the interval before its split the target is the pairs' own velocity, not the average."""
    assert float(left_of_the_mean(1.0, Exact()).abs().max()) > 0.2


def test_another_network_is_told_to_change():
    """Of one that says the velocity at the beginning the targets are those of the average, not its own."""
    velocity = lambda x, t, cond: Exact()(x, t[:, 0], cond)  # noqa: E731
    assert float(left_of_the_mean(0.0, velocity).abs().max()) > 0.05


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
        prediction.compared(Wave(), x0, x, u, torch.stack([t, t + step, end], 1), cond).target
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
    said = flow.velocity(x0, torch.tensor([[0.0, 1.0]]).expand(41, 2)).detach()
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
    split = torch.tensor([0.2, 0.3, 1.0, 1.0, 0.3, 0.3, 0.3, 0.3])
    x, u, _ = Path.create("condot").interpolate(x0, x1, begin)
    found = prediction.compared(network, x0, x, u, torch.stack([begin, split, end], 1), None)
    assert calls == [8, 4, 4]
    torch.testing.assert_close(found.target[2:], u[2:])
    assert not torch.allclose(found.target[:2], u[:2])
    calls.clear()
    alone = prediction.compared(network, x0, x, u, torch.stack([begin, begin, begin], 1), None)
    assert len(calls) == 3
    torch.testing.assert_close(alone.target, u)


def test_the_derivative_is_taken_beside_intervals_that_need_none():
    """At share 0 rows in the last long step have their split at the end, and leave the others' derivative."""
    prediction = AverageVelocity(normal_prior(), Coupling.create("condot"), Path.create("condot"))
    x0, x1 = torch.randn(2, 4, 1, generator=torch.Generator().manual_seed(0))
    begin, end = torch.tensor([0.1, 0.2, 0.8, 0.9]), torch.tensor([1.0, 0.5, 1.0, 1.0])
    x, u, _ = Path.create("condot").interpolate(x0, x1, begin)

    def targets(split: list[float]) -> Tensor:
        t = torch.stack([begin, torch.tensor(split), end], 1)
        return prediction.compared(Exact(), x0, x, u, t, None).target

    exact, nearly = targets([0.1, 0.2, 1.0, 1.0]), targets([0.101, 0.201, 1.0, 1.0])
    torch.testing.assert_close(exact, nearly, rtol=0.02, atol=0.02)
    torch.testing.assert_close(exact[2:], u[2:])


def test_half_precision_is_refused():
    with pytest.raises(OptionError, match="of which bfloat16 keeps too few digits; choose precision float32"):
        train("moons", steps=1, prediction="average-velocity", precision="bfloat16")


def test_a_sampler_of_averages_is_refused_to_flows_without_them():
    flow = Flow(nn.Identity(), normal_prior(), Coupling.create("condot"), Path.create("condot"), Condition())
    with pytest.raises(
        OptionError, match="'flow-map' needs a flow of prediction 'average-velocity', got 'velo"
    ):
        flow.sample(n=2, nfe=1, sampler="flow-map")


@pytest.mark.parametrize(
    ("prediction", "time"), [("average-velocity", "uniform"), ("velocity", "interval"), ("auto", "interval")]
)
def test_times_that_a_prediction_is_not_trained_on_are_refused(prediction, time):
    with pytest.raises(OptionError, match="is not trained on; use time 'auto'"):
        train("moons", prior="gaussian", coupling="condot", steps=1, prediction=prediction, time=time)
