"""Truncation errors: closed forms for Euler, orders of convergence, exactness, impossible calls."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowprior.errors import InputError, OptionError
from flowprior.metrics import global_error, local_error, solve_trajectories, step_times
from flowprior.samplers import FixedStepSampler, Sampler
from tests.gaussian_flow import LinearVelocity, flow_of

GROWTH = 0.8


def starts(generator: torch.Generator, n: int = 30) -> Tensor:
    return torch.randn(n, 3, generator=generator, dtype=torch.float64)


def test_errors_of_euler_on_a_growing_line_are_known(generator: torch.Generator) -> None:
    """x' = a x: a step loses e^ah − 1 − ah of where it starts, the end is (1 + ah)^N x0."""
    x0, steps = starts(generator), 5
    flow, euler = flow_of(lambda x, t, cond: GROWTH * x), Sampler.create("euler")
    solved = solve_trajectories(flow, x0, times=step_times(euler, steps))
    size = x0.square().mean().sqrt().item()
    h = 1 / steps
    loss = math.exp(GROWTH * h) - 1 - GROWTH * h
    local = loss * size * math.sqrt(sum(math.exp(2 * GROWTH * h * k) for k in range(steps)) / steps)
    assert local_error(flow, euler, steps, solved) == pytest.approx(local, rel=1e-6)
    x1 = flow_euler(x0, steps)
    expected = (math.exp(GROWTH) - (1 + GROWTH * h) ** steps) * size
    assert global_error(x1, solved) == pytest.approx(expected, rel=1e-6)


def flow_euler(x0: Tensor, steps: int) -> Tensor:
    return x0 * (1 + GROWTH / steps) ** steps


@pytest.mark.parametrize(("name", "stages", "order"), [("euler", 1, 1), ("heun", 2, 2), ("rk4", 4, 4)])
def test_they_fall_with_the_order_of_the_method(
    generator: torch.Generator, name: str, stages: int, order: int
) -> None:
    sampler, x0, flow = Sampler.create(name), starts(generator), flow_of(LinearVelocity(3))
    counts = [8 * stages, 16 * stages]
    solved = solve_trajectories(flow, x0, times=[t for n in counts for t in step_times(sampler, n)])
    local = [local_error(flow, sampler, n, solved, batch_size=7) for n in counts]
    ends = [sampler.integrate(flow.velocity, x0, nfe=n).detach() for n in counts]
    total = [global_error(x, solved) for x in ends]
    assert math.log2(local[0] / local[1]) == pytest.approx(order + 1, abs=0.4)
    assert math.log2(total[0] / total[1]) == pytest.approx(order, abs=0.4)


def test_a_straight_flow_is_solved_by_one_step(generator: torch.Generator) -> None:
    x0, euler = starts(generator), Sampler.create("euler")
    flow = flow_of(lambda x, t, cond: torch.ones_like(x))
    solved = solve_trajectories(flow, x0)
    assert local_error(flow, euler, 1, solved) < 1e-7
    assert global_error(euler.integrate(flow.velocity, x0, nfe=1), solved) < 1e-7


def test_the_cosine_grid_is_the_samplers_own(generator: torch.Generator) -> None:
    sampler = Sampler.create("euler", grid="cosine")
    assert isinstance(sampler, FixedStepSampler)
    assert step_times(sampler, 4)[1] == pytest.approx(0.5 * (1 - math.cos(math.pi / 4)))
    flow, x0 = flow_of(LinearVelocity(3)), starts(generator)
    solved = solve_trajectories(flow, x0, times=step_times(sampler, 4))
    assert local_error(flow, sampler, 4, solved) > 0


def test_impossible_calls_are_refused(generator: torch.Generator) -> None:
    flow, heun = flow_of(LinearVelocity(3)), Sampler.create("heun")
    solved = solve_trajectories(flow, starts(generator))
    with pytest.raises(OptionError, match="nfe=3 cannot be spent exactly"):
        local_error(flow, heun, 3, solved)
    with pytest.raises(InputError, match=r"no state at t=0\.5"):
        local_error(flow, heun, 4, solved)
