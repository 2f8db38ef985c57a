"""Samplers that ask for the law of the pairs: late starts, and the exponential method."""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from flowprior import Coupling, Flow, Path, Prior, evaluate
from flowprior.conditions import Condition
from flowprior.data import TensorData
from flowprior.errors import OptionError
from flowprior.registry.registry import spec_of
from flowprior.samplers import Sampler
from tests.couplings.conftest import even  # noqa: F401
from tests.couplings.gaussian_pairs import exact_prior, gaussian_classes

LABELS = Condition("labels", 2)


@pytest.fixture(scope="module")
def data() -> TensorData:
    return gaussian_classes(4000)


@pytest.fixture(scope="module")
def prior(data: TensorData) -> Prior:
    return exact_prior(data)


class Nothing(nn.Module):
    """A network that adds nothing to the linear velocity."""

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        assert t.shape == (len(x),)
        return torch.zeros_like(x)


class Bent(nn.Module):
    """A network whose answer bends in x and t."""

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        return (x + 2 * t[:, None] + cond[:, None]).sin()


def flow_of(prior: Prior, coupling: str, model: nn.Module, prediction: str = "residual") -> Flow:
    """A flow of what the linear velocity leaves."""
    paired, path = Coupling.create(coupling), Path.create("condot")
    return Flow(model, prior, paired, path, LABELS, prediction=prediction)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("coupling", ["condot", "posterior"])
def test_without_a_network_few_exponential_steps_end_where_many_do(data, prior, coupling, even):  # noqa: F811
    """All but the last step are exact there, whatever their number; Euler's are not."""
    flow, cond, grid = flow_of(prior, coupling, Nothing()), data.cond[:64], "grid=last,at=0.7"

    def solved(name: str, nfe: int) -> Tensor:
        return flow.sample(cond, nfe=nfe, sampler=f"{name}:{grid}", generator=seeded())

    many, source = solved("euler", 2000), flow.sample(cond, nfe=0, generator=seeded())
    way = float((many - source).norm())
    for nfe in (4, 6):
        found, by_euler = (float((solved(name, nfe) - many).norm()) for name in ("exponential", "euler"))
        assert found < 3e-3 * way
        assert by_euler > 2 * found


def test_it_converges_to_the_solution_of_the_same_velocity_with_order_one(data, prior):
    flow, cond = flow_of(deepcopy(prior), "posterior", Bent()).double(), data.cond[:32]
    exact = flow.sample(cond, nfe=200, sampler="rk4", generator=seeded())
    errors = [
        float((flow.sample(cond, nfe=nfe, sampler="exponential", generator=seeded()) - exact).norm())
        for nfe in (16, 32, 64)
    ]
    ratios = [before / after for before, after in pairwise(errors)]
    assert all(1.7 < ratio < 2.3 for ratio in ratios), ratios


def test_a_function_of_one_time_is_no_velocity_of_whole_steps():
    for spec in ("exponential", "euler:start=0.2"):
        with pytest.raises(OptionError, match=r"asks for averages of the velocity over .*sample a flow"):
            Sampler.registry.resolve(spec).solve(lambda x, t, cond: x, torch.zeros(2, 1), nfe=2)


def test_guidance_moves_the_late_start_as_it_moves_the_network(data, prior):
    """At guidance 0 the condition is ignored, and between two conditions the way is straight."""
    flow, one, other = flow_of(prior, "posterior", Nothing()), torch.zeros(8).long(), torch.ones(8).long()
    source, path = flow.sample(one, nfe=0, generator=seeded()), flow.path
    here, there = path.at(torch.zeros(8)), path.at(torch.full((8,), 0.5))

    def at_start(**options: object) -> Tensor:
        options |= {"sampler": "euler:start=0.5", "nfe": 1, "trajectory": True, "generator": seeded()}
        found = flow.solve(one, **options).trajectory  # type: ignore[arg-type]
        assert found is not None
        return found[1]

    def led(cond: Tensor) -> Tensor:
        law = flow.coupling.law(prior, cond)
        assert law is not None
        return source + 0.5 * law.average(source, here, there)

    torch.testing.assert_close(at_start(), led(one))
    away = led(other)
    found = at_start(guidance=3.0, negative=torch.tensor([1]))
    torch.testing.assert_close(found, away + 3.0 * (led(one) - away), rtol=1e-4, atol=1e-4)
    ignored = led(flow.condition.null(one))
    torch.testing.assert_close(at_start(guidance=0.0), ignored, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sampler", ["heun", "exponential"])
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
    (",grid=last,at=0.7", [0.2, 0.325, 0.45, 0.575, 0.7, 1.0]),
])  # fmt: skip
def test_the_grid_is_that_of_what_is_left(grid, times):
    """On the grid ``last`` the last step begins where it did."""
    found = Sampler.registry.resolve(f"euler:start=0.2{grid}").times(len(times) - 1)
    assert found.tolist() == pytest.approx(times)


def test_a_start_is_written_down_and_impossible_ones_are_refused():
    spec = "exponential:grid=power,exponent=1.5,start=0.1"
    assert spec_of(Sampler.registry, Sampler.registry.resolve(spec)) == spec
    for wrong in ("start=1", "start=-0.1", "start=0.7,grid=last,at=0.7"):
        with pytest.raises(OptionError, match=r"start.* (from 0|is not possible)"):
            Sampler.registry.resolve(f"euler:{wrong}")


def refused_by(flow: Flow, x: Tensor, cond: Tensor, says: str) -> None:
    """All that needs the law is refused, and the prior alone is not."""
    for spec, who in (("euler:start=0.2", "'euler' with start=0.2"), ("exponential", "'exponential'")):
        with pytest.raises(OptionError, match=f"sampler {who} needs the Gaussian law .*{says}"):
            flow.sample(cond, nfe=2, sampler=spec)
        assert flow.sample(cond, nfe=0, sampler=spec).shape == x.shape
    with pytest.raises(OptionError, match="the average velocity of an interval needs the Gaussian law"):
        flow.average_velocity(x, torch.zeros(len(x)), torch.ones(len(x)), cond)


def test_a_prior_without_a_spread_is_refused(data):
    prior = Prior.create("gaussian").fit((data.x[:100], None))
    flow = flow_of(prior, "condot", Nothing(), "velocity")
    refused_by(flow, data.x[:4], data.cond[:4], "'gaussian' with coupling 'condot'")


def test_pairs_of_a_flow_have_another_law_and_are_refused(data, prior):
    given = Coupling.create("given", origin="posterior")
    flow = Flow(Nothing(), prior, given, Path.create("condot"), LABELS, prediction="residual")
    refused_by(flow, data.x[:4], data.cond[:4], "'latent-gmm' with coupling 'given'")


@pytest.mark.parametrize("sampler", ["euler", "exponential:start=0.2"])
def test_a_solve_makes_the_law_once_and_a_velocity_each_time(data, prior, sampler, monkeypatch):
    """Under guidance as well, and in each batch; what a solve gives is what single steps give."""
    flow, cond, made = flow_of(prior, "posterior", Bent()), data.cond[:8], []
    law = type(flow.coupling).law

    def counted(self: Coupling, *asked: object) -> object:
        made.append(asked)
        return law(self, *asked)  # type: ignore[arg-type]

    monkeypatch.setattr(type(flow.coupling), "law", counted)
    for guidance in (1.0, 2.0):
        whole = flow.sample(cond, nfe=6, sampler=sampler, guidance=guidance, generator=seeded())
        assert len(made) == 1
        made.clear()
        batches = flow.sample(
            cond, nfe=6, sampler=sampler, guidance=guidance, generator=seeded(), batch_size=5
        )
        assert len(made) == 2
        made.clear()
        torch.testing.assert_close(batches, whole, rtol=1e-4, atol=1e-4)
    velocity, x, t = flow.guided(), data.x[:8], torch.full((8,), 0.5)
    for labels in (cond, 1 - cond):
        torch.testing.assert_close(velocity(x, t, labels), flow.velocity(x, t, labels), rtol=0, atol=0)


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
