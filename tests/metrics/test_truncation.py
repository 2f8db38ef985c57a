"""Truncation errors: closed forms for Euler, orders of convergence, exactness, impossible calls."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowprior.errors import InputError, OptionError
from flowprior.metrics import global_error, local_error, solve_trajectories, step_times
from flowprior.samplers import Sampler
from tests.gaussian_flow import LinearVelocity, flow_of


def starts(generator: torch.Generator, n: int = 30) -> Tensor:
    return torch.randn(n, 3, generator=generator, dtype=torch.float64)


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


def test_impossible_calls_are_refused(generator: torch.Generator) -> None:
    flow, heun = flow_of(LinearVelocity(3)), Sampler.create("heun")
    solved = solve_trajectories(flow, starts(generator))
    with pytest.raises(OptionError, match="nfe=3 cannot be spent exactly"):
        local_error(flow, heun, 3, solved)
    with pytest.raises(InputError, match=r"no state at t=0\.5"):
        local_error(flow, heun, 4, solved)
