"""The intervals of a training step, how a network is told them, and steps over them by exact averages."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from flowprior.conditions import Condition, Parts
from flowprior.errors import OptionError
from flowprior.extensions.few_evaluations.intervals import tell_intervals
from flowprior.models import build_model
from flowprior.samplers import Sampler
from flowprior.samplers.base import AveragedVelocity
from flowprior.training.objective import TimeDistribution

CPU = torch.device("cpu")


def intervals(progress: float, count: int = 100_000, **options: float) -> tuple[torch.Tensor, ...]:
    """Beginning, split and end of intervals, and which are longer than 0."""
    law = TimeDistribution.create("interval", **options)
    begin, split, end = law.draw(count, progress, torch.Generator().manual_seed(1), CPU).unbind(1)
    return begin, split, end, end > begin


def test_intervals_are_two_times_in_order_and_the_rest_have_no_length() -> None:
    begin, split, end, apart = intervals(1.0, apart=0.25, split=0.1)
    shares = torch.stack([part.float().mean() for part in apart.split(33)[:-1]])
    assert float((shares - 0.25).abs().max()) <= 1 / 33, "every micro-batch has its share"
    assert bool((begin <= split).all())
    assert bool((split <= end).all())
    torch.testing.assert_close(split[apart], (begin + 0.1 * (end - begin))[apart])
    both = torch.cat([begin[apart], end[apart]]).double()
    alone = TimeDistribution.create("logit-normal", deviation=1.4)
    expected = alone.draw(len(both), 0.0, torch.Generator().manual_seed(2), CPU).double()
    for times in (both, begin[~apart].double()):
        shares = [torch.histogram(t, 10, range=(0, 1)).hist / len(t) for t in (times, expected)]
        torch.testing.assert_close(*shares, rtol=0, atol=0.01)


def test_the_split_comes_nearer_to_the_beginning_as_the_training_goes_on() -> None:
    shares = []
    for progress in (0.0, 0.25, 0.5, 0.9):
        begin, split, end, apart = intervals(progress, split=0.01, anneal=0.5)
        long = apart & (end - begin > 0.1)
        shares.append(float(((split - begin) / (end - begin))[long].mean()))
    assert shares == pytest.approx([1.0, 0.1, 0.01, 0.01], rel=1e-3)
    begin, split, *_ = intervals(0.0, split=0.0)
    assert torch.equal(begin, split), "there is nothing that could fall"


def test_intervals_into_the_last_step_end_with_it() -> None:
    """Beyond ``last`` one step of the velocity leads to 1: nothing is split, and no split lies there."""
    begin, split, end, _ = intervals(1.0, last=0.7, split=0.5, apart=1.0)
    assert bool(((end <= 0.7) | (end == 1.0)).all())
    late = begin >= 0.69
    assert bool((begin >= 0.7).any())
    assert torch.equal(split[late], end[late])
    assert float(split[~late].max()) <= 0.7


@pytest.mark.parametrize(("spec", "option"), [("interval:apart=2", "apart"), ("interval:last=0", "last")])
def test_impossible_options(spec: str, option: str) -> None:
    with pytest.raises(OptionError, match=f"expected {option}"):
        TimeDistribution.registry.resolve(spec)


@pytest.mark.parametrize("spec", ["mlp", "unet:widths=8-16", "dit:width=16,heads=2,depth=1"])
@pytest.mark.parametrize("reads", ["", "a"])
def test_a_network_of_the_library_is_told_the_length_of_an_interval(spec: str, reads: str) -> None:
    """Of an interval without length it says what it says of a time alone."""
    parts = Condition("parts", parts=(("a", Condition("labels", 3)), ("b", Condition("labels", 2))))
    spec = f"{spec}{',' if ':' in spec else ':'}reads={reads}" if reads else spec
    network = build_model(spec, torch.Size([1, 4, 4]), parts).eval()
    assert tell_intervals(network)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    x, t = torch.randn(5, 1, 4, 4), torch.rand(5)
    cond = Parts({"a": torch.arange(5) % 3, "b": torch.arange(5) % 2})
    alone = network(x, t, cond)
    torch.testing.assert_close(network(x, torch.stack([t, t], 1), cond), alone)
    assert not torch.allclose(network(x, torch.stack([t, t + 1], 1), cond), alone)
    assert not tell_intervals(nn.Identity())


RATE = 1.7


def average(x: Tensor, begin: Tensor, end: Tensor, cond: None) -> Tensor:
    """Of dx/dt = RATE x over the interval: (exp(RATE length) − 1) x / length, RATE x at length 0."""
    length = (end - begin)[:, None]
    return torch.where(length > 0, torch.expm1(RATE * length) / length, RATE) * x


averaged = partial(AveragedVelocity, nn.Identity())
"""A velocity of which only averages can be asked."""


@pytest.mark.parametrize("grid", ["uniform", "cosine", "power"])
@pytest.mark.parametrize("nfe", [1, 2, 9])
def test_steps_by_exact_averages_end_at_the_solution(grid: str, nfe: int) -> None:
    x0 = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = Sampler.create("flow-map", grid=grid).solve(averaged(average), x0, nfe=nfe, trajectory=True)
    assert found.nfe == nfe
    assert found.trajectory is not None
    torch.testing.assert_close(found.x, math.exp(RATE) * x0)
    expected = torch.exp(RATE * found.times)[:, None, None] * x0
    torch.testing.assert_close(found.trajectory, expected)


def test_steps_before_the_last_one_are_exact_where_averages_are() -> None:
    """Two evaluations end where the exact solution at 0.7 and one step of the velocity from there do."""
    x0 = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for nfe in (2, 5):
        found = Sampler.create("flow-map", grid="last", at=0.7).solve(averaged(average), x0, nfe=nfe).x
        torch.testing.assert_close(found, math.exp(0.7 * RATE) * (1 + 0.3 * RATE) * x0)


@pytest.mark.parametrize(
    ("spec", "nfe", "told"),
    [
        ("flow-map:grid=last,at=0.7", 1, [(0.0, 1.0)]),
        ("flow-map:grid=last,at=0.7", 2, [(0.0, 0.7), (0.7, 0.7)]),
        ("flow-map:grid=last,at=0.7", 3, [(0.0, 0.35), (0.35, 0.7), (0.7, 0.7)]),
        ("meanflow", 2, [(0.0, 0.5), (0.5, 1.0)]),
    ],
)
def test_each_evaluation_is_told_where_its_step_begins_and_ends(
    spec: str, nfe: int, told: list[tuple[float, float]]
) -> None:
    """On the grid ``last`` a step of the velocity ends, which is the average over a length of 0."""
    seen, labels = [], torch.arange(4)

    def watched(x: Tensor, begin: Tensor, end: Tensor, cond: Tensor) -> Tensor:
        assert begin.shape == end.shape == (4,)
        assert cond is labels
        seen.append(torch.stack([begin[0], end[0]]))
        return torch.ones_like(x)

    found = Sampler.registry.resolve(spec).solve(averaged(watched), torch.zeros(4, 2), labels, nfe=nfe)
    torch.testing.assert_close(torch.stack(seen), torch.tensor(told))
    torch.testing.assert_close(found.x, torch.ones(4, 2))


@pytest.mark.parametrize(("nfe", "times"), [(2, [0.2, 0.7, 1.0]), (1, [0.2, 1.0])])
def test_a_late_start_leaves_the_last_step_where_it_begins(nfe: int, times: list[float]) -> None:
    late = Sampler.registry.resolve("flow-map:start=0.2,grid=last,at=0.7")
    assert late.times(nfe).tolist() == pytest.approx(times)
