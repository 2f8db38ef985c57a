"""A late start and the exponential method: what the moments of the pairs foretell costs no evaluation."""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from flowprior import Coupling, Flow, Path, Prior, evaluate
from flowprior.conditions import Condition
from flowprior.errors import InputError, OptionError
from flowprior.flow.linear_velocity import LinearVelocity, carried
from flowprior.flow.pair_moments import PairMoments
from flowprior.models import MLP
from flowprior.registry import spec_of
from flowprior.samplers import Euler, Sampler

from .two_classes import DIMS

LABELS = Condition("labels", 2)
PAIRS = 20_000


class Nothing(nn.Module):
    """A network that adds nothing to what the moments say."""

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        assert t.shape == (len(x),)
        return torch.zeros_like(x)


def flow_of(prior: Prior, coupling: str, model: nn.Module | None = None, **options: str) -> Flow:
    """A flow of what the linear velocity leaves, which by itself is nothing."""
    paired, path = Coupling.create(coupling), Path.registry.resolve(options.pop("path", "condot"))
    options = {"prediction": "residual"} | options
    return Flow(model or Nothing(), prior, paired, path, LABELS, **options)  # type: ignore[arg-type]


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


class Bent(nn.Module):
    """A network whose answer bends in x and t, and whose inputs may lie side by side."""

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        return (x[:, :DIMS] + 2 * t[:, None] + cond[:, None]).sin()


def integrated(linear: LinearVelocity, x: Tensor, end: float, cond: Tensor, begin: float = 0) -> Tensor:
    """A hundred Heun steps of the linear velocity from ``begin`` to ``end``."""
    for t, s in pairwise(torch.linspace(begin, end, 101)):
        here = linear(x, t.expand(len(x)), cond)
        there = linear(x + (s - t) * here, s.expand(len(x)), cond)
        x = x + (s - t) * (here + there) / 2
    return x


@pytest.fixture
def even(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variance outside of the axes made the same everywhere, where the closed form is exact."""
    outside = property(lambda self: torch.full_like(self.frame.loc, 0.3))
    monkeypatch.setattr(PairMoments, "outside", outside)


@pytest.mark.parametrize("coupling", ["condot", "posterior"])
@pytest.mark.parametrize("path", ["condot", "condot:sigma_min=0.1", "cosine"])
@pytest.mark.parametrize(("begin", "end"), [(0.0, 0.4), (0.0, 1.0), (0.3, 0.4)])
def test_the_linear_velocity_leads_where_its_average_says(data, prior, coupling, path, begin, end, even):
    """A late start, from 0 on, is where it leads."""
    linear = LinearVelocity(prior, Coupling.create(coupling), Path.registry.resolve(path))
    cond = data.cond[:64]
    x = prior.sample(cond, generator=seeded())
    expected = integrated(linear, x, end, cond, begin)
    now, then = torch.full((64,), begin), torch.full((64,), end)
    found = x + (end - begin) * linear.average(x, now, then, cond)
    assert float((found - expected).norm()) < 1e-3 * float((expected - x).norm())
    if begin == 0:
        assert torch.equal(found, carried(x, cond, end, linear.average))


@pytest.mark.parametrize("coupling", ["condot", "posterior"])
@pytest.mark.parametrize("path", ["condot", "cosine"])
def test_samples_that_start_late_have_the_moments_of_the_pairs_there(data, prior, coupling, path):
    """Source samples carried to 0.6, beside pairs that the coupling draws; one step of Euler is far off."""
    time, paired, path = 0.6, Coupling.create(coupling), Path.create(path)
    linear = LinearVelocity(prior, paired, path)
    x, cond = data.x[:PAIRS], data.cond[:PAIRS]
    t = torch.full((len(x),), time)
    paired_points, _, _ = path.interpolate(paired.draw(prior, x, cond, generator=seeded()), x, t)
    x0 = prior.sample(cond, generator=torch.Generator().manual_seed(4))
    late = carried(x0, cond, time, linear.average)
    stepped = x0 + time * linear(x0, torch.zeros(len(x)), cond)
    for label in (0, 1):
        of = cond == label
        expected, found, crude, still = (
            (points[of].mean(0), torch.cov(points[of].T)) for points in (paired_points, late, stepped, x0)
        )
        torch.testing.assert_close(found[0], expected[0], rtol=0, atol=0.06)
        if path.name == "cosine":  # on the straight path the mean stays where it is
            assert float((still[0] - expected[0]).abs().max()) > 0.2
        error, by_euler = (float((c[1] - expected[1]).norm() / expected[1].norm()) for c in (found, crude))
        assert error < 0.05
        assert by_euler > 1.5 * error


@pytest.mark.parametrize("coupling", ["condot", "posterior"])
def test_without_a_network_few_exponential_steps_end_where_many_do(data, prior, coupling, even):
    """All but the last step are exact there, whatever their number; Euler's are not."""
    flow, cond = flow_of(prior, coupling), data.cond[:64]
    linear, source = LinearVelocity(prior, flow.coupling, flow.path), prior.sample(cond, generator=seeded())
    point = integrated(linear, source, 0.7, cond)
    many = point + 0.3 * linear(point, torch.full((64,), 0.7), cond)
    grid, way = "grid=last,at=0.7", float((many - source).norm())
    for nfe in (4, 6):
        found, by_euler = (
            float((flow.sample(cond, nfe=nfe, sampler=f"{name}:{grid}", generator=seeded()) - many).norm())
            for name in ("exponential", "euler")
        )
        assert found < 3e-3 * way
        assert by_euler > 2 * found


def test_it_converges_to_the_solution_of_the_same_velocity_with_order_one(data, prior):
    flow = flow_of(deepcopy(prior), "posterior", Bent()).double()
    cond = data.cond[:32]
    exact = flow.sample(cond, nfe=200, sampler="rk4", generator=seeded())
    errors = [
        float((flow.sample(cond, nfe=nfe, sampler="exponential", generator=seeded()) - exact).norm())
        for nfe in (16, 32, 64)
    ]
    ratios = [before / after for before, after in pairwise(errors)]
    assert all(1.7 < ratio < 2.3 for ratio in ratios), ratios


@pytest.mark.parametrize("coupling", ["condot", "posterior"])
@pytest.mark.parametrize("path", ["condot", "cosine"])
def test_what_does_not_change_beside_the_linear_part_costs_no_accuracy(data, prior, coupling, path, even):
    """Four steps beside a hundred of the same velocity, to which the network adds a constant."""

    class Constant(nn.Module):
        def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
            return torch.linspace(-2, 3, DIMS).to(x).expand_as(x)

    flow, cond = flow_of(prior, coupling, Constant(), path=path), data.cond[:64]
    x0 = prior.sample(cond, generator=seeded())
    times = torch.linspace(0, 0.8, 5)
    many, few, crude = x0, x0, x0
    with torch.no_grad():
        for t, s in pairwise(torch.linspace(0, 0.8, 101)):
            here = flow.velocity(many, t.expand(64), cond)
            there = flow.velocity(many + (s - t) * here, s.expand(64), cond)
            many = many + (s - t) * (here + there) / 2
        for t, s in pairwise(times):
            few = few + (s - t) * flow.average_velocity(few, t.expand(64), s.expand(64), cond)
            crude = crude + (s - t) * flow.velocity(crude, t.expand(64), cond)
    way = float((many - x0).norm())
    error = float((few - many).norm())
    assert error < (2e-3 if path == "condot" else 8e-3) * way  # a chord is no straight line there
    assert float((crude - many).norm()) > 5 * error


@pytest.mark.parametrize("path", ["condot", "cosine"])
def test_without_length_an_interval_has_the_velocity_itself(data, prior, path):
    flow, cond, t = (
        flow_of(prior, "posterior", Bent(), path=path),
        data.cond[:16],
        torch.linspace(0.1, 0.9, 16),
    )
    found = flow.average_velocity(data.x[:16], t, t, cond)
    torch.testing.assert_close(found, flow.velocity(data.x[:16], t, cond), rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match=r"times \[B\], got \[16, 2\].*average_velocity"):
        flow.velocity(data.x[:16], torch.stack([t, t], 1), cond)


def test_a_function_of_one_time_is_no_velocity_of_whole_steps():
    with pytest.raises(OptionError, match=r"asks for averages of the velocity over intervals.*sample a flow"):
        Sampler.create("exponential").solve(lambda x, t, cond: x, torch.zeros(2, 1), nfe=2)


def test_guidance_moves_the_late_start_as_it_moves_the_network(data, prior):
    """At guidance 0 the condition is ignored, and between two conditions the way is straight."""
    flow, one, other = flow_of(prior, "posterior"), torch.zeros(8).long(), torch.ones(8).long()
    start = {"sampler": "euler:start=0.5", "nfe": 1, "trajectory": True}

    def at_start(cond: Tensor, **options: object) -> Tensor:
        found = flow.solve(cond, generator=seeded(), **start, **options).trajectory  # type: ignore[arg-type]
        assert found is not None
        return found[1]

    toward = at_start(one)
    source = flow.sample(one, nfe=0, generator=seeded())
    linear, interval = (
        LinearVelocity(prior, flow.coupling, flow.path),
        (torch.zeros(8), torch.full((8,), 0.5)),
    )
    away = source + 0.5 * linear.average(source, *interval, other)
    found = at_start(one, guidance=3.0, negative=torch.tensor([1]))
    torch.testing.assert_close(found, away + 3.0 * (toward - away), rtol=1e-4, atol=1e-4)
    ignored = source + 0.5 * linear.average(source, *interval, flow.condition.null(one))
    torch.testing.assert_close(at_start(one, guidance=0.0), ignored, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sampler", ["euler", "heun", "rk4", "exponential"])
def test_a_trajectory_begins_with_the_source_samples(data, prior, sampler):
    flow, cond = flow_of(prior, "posterior", Bent()), data.cond[:9]
    options = {"sampler": f"{sampler}:start=0.3", "nfe": 8}
    found = flow.solve(cond, trajectory=True, batch_size=4, generator=seeded(), **options)  # type: ignore[arg-type]
    assert found.nfe == 8
    assert found.times[:2].tolist() == pytest.approx([0.0, 0.3])
    assert found.trajectory is not None
    assert len(found.times) == len(found.trajectory)
    source = flow.sample(cond, nfe=0, generator=seeded())
    torch.testing.assert_close(found.trajectory[0], source, rtol=0, atol=0)
    torch.testing.assert_close(found.trajectory[-1], found.x, rtol=0, atol=0)
    whole = flow.solve(cond, generator=seeded(), **options)  # type: ignore[arg-type]
    assert whole.times.tolist() == [0.0, 1.0]
    torch.testing.assert_close(whole.x, found.x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("grid", "times"), [
    ("", [0.2, 0.6, 1.0]),
    (",grid=power,exponent=2", [0.2, 0.8, 1.0]),
    (",grid=last,at=0.5", [0.2, 0.5, 1.0]),
])  # fmt: skip
def test_the_grid_is_that_of_what_is_left(grid, times):
    assert Sampler.registry.resolve(f"euler:start=0.2{grid}").times(2).tolist() == pytest.approx(times)


def test_on_the_grid_last_the_last_step_begins_where_it_did():
    late = Sampler.registry.resolve("euler:start=0.2,grid=last,at=0.7").times(5)
    assert late.tolist() == pytest.approx([0.2, 0.325, 0.45, 0.575, 0.7, 1.0])


@pytest.mark.parametrize("spec", ["euler:start=0.3", "exponential:grid=power,exponent=1.5,start=0.1"])
def test_a_start_is_written_down(spec):
    assert spec_of(Sampler.registry, Sampler.registry.resolve(spec)) == spec


@pytest.mark.parametrize(("spec", "says"), [
    ("euler:start=1", "expected start to be a number from 0"),
    ("euler:start=-0.1", "expected start to be a number from 0"),
    ("euler:start=0.7,grid=last,at=0.7", "start=0.7 is not possible with grid=last,at=0.7"),
])  # fmt: skip
def test_impossible_starts_are_refused(spec, says):
    with pytest.raises(OptionError, match=says):
        Sampler.registry.resolve(spec)


@pytest.mark.parametrize(("spec", "says"), [
    ("euler:start=0.2", r"sampler 'euler' with start=0.2 needs the moments of the pairs.*gaussian.*start=0"),
    ("exponential", r"sampler 'exponential' needs the moments of the pairs.*--sampler euler"),
])  # fmt: skip
def test_a_prior_that_tells_no_moments_is_refused(data, spec, says):
    prior = Prior.create("gaussian").fit((data.x[:100], None))
    flow = flow_of(prior, "condot", prediction="velocity")
    with pytest.raises(OptionError, match=says):
        flow.sample(data.cond[:4], nfe=2, sampler=spec)
    with pytest.raises(OptionError, match="the average velocity of an interval needs the moments"):
        flow.average_velocity(data.x[:2], torch.zeros(2), torch.ones(2), data.cond[:2])


def test_pairs_of_a_flow_have_other_moments_and_are_refused(data, prior, tmp_path):
    flow_of(prior, "posterior", MLP(data.event_shape, LABELS)).save(tmp_path)
    reflow = Coupling.create("reflow", flow=str(tmp_path), origin="posterior")
    flow = Flow(Nothing(), prior, reflow, Path.create("condot"), LABELS, prediction="residual")
    for spec in ("euler:start=0.2", "exponential"):
        with pytest.raises(OptionError, match="coupling 'reflow' does not tell"):
            flow.sample(data.cond[:4], nfe=2, sampler=spec)
        assert flow.sample(data.cond[:4], nfe=0, sampler=spec).shape == (4, DIMS)
    with pytest.raises(OptionError, match="coupling 'reflow' does not tell"):
        flow.average_velocity(data.x[:2], torch.zeros(2), torch.ones(2), data.cond[:2])


def test_a_sampler_that_draws_noise_cannot_start_late(data, prior):
    class Noisy(Euler):
        stochastic = True

    with pytest.raises(OptionError, match=r"start=0.5 draws noise on the way"):
        flow_of(prior, "posterior").sample(data.cond[:4], nfe=2, sampler=Noisy(start=0.5))


def test_the_error_of_steps_is_not_told_of_a_late_start(data, prior):
    """Its first move is no step, and the others begin on the exact solution."""
    flow = flow_of(prior, "posterior", Bent())
    late, whole = (
        evaluate(flow, data, nfe=[2], sampler=spec, samples=100, metrics=["truncation"], progress=False)
        for spec in ("euler:start=0.5", "euler")
    )
    names = {row["metric"] for row in whole.rows}
    assert {"global_error", "local_error"} <= names
    assert names - {row["metric"] for row in late.rows} == {"local_error"}
