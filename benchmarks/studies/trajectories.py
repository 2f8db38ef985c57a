"""How straight and how exact the trajectories of one trained flow are, against its own exact solution.

The exact solution of the learned equation is dopri5's in float64, at a tolerance of 1e-6.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from flowprior.flow import Flow
from flowprior.samplers import Sampler

TOLERANCE = 1e-6


@dataclass(frozen=True)
class Reference:
    """Exact trajectories of a flow.

    Attributes:
        flow: the flow in float64.
        times: ``[T]``, equally spaced in [0, 1].
        states: ``[T, B, *event]``; the first are the starts.
        cond: their conditions.
    """

    flow: Flow
    times: Tensor
    states: Tensor
    cond: Tensor | None


@torch.no_grad()
def solve_exactly(flow: Flow, x0: Tensor, cond: Tensor | None, points: int = 121) -> Reference:
    """Trajectories from x0 ``[B, *event]`` at ``points`` equal times."""
    sampler = Sampler.create("dopri5", rtol=TOLERANCE, atol=TOLERANCE, points=points)
    precise = copy.deepcopy(flow).double()
    solution = sampler.solve(precise.velocity, x0.double(), cond, trajectory=True)
    assert solution.trajectory is not None
    return Reference(precise, solution.times, solution.trajectory, cond)


def curvature(reference: Reference) -> float:
    """E ∫‖x'(t) − (x(1) − x(0))‖² dt of the exact trajectories; 0 where they are straight and steady."""
    steps = reference.states.diff(dim=0).double() * (len(reference.times) - 1)
    chord = (reference.states[-1] - reference.states[0]).double()
    return float((steps - chord).flatten(2).square().sum(2).mean())


@torch.no_grad()
def global_error(reference: Reference, nfe: int) -> float:
    """E‖x − x(1)‖² of Euler's ``nfe`` steps from the same starts: the global truncation error."""
    euler = Sampler.create("euler")
    x = euler.integrate(reference.flow.velocity, reference.states[0], reference.cond, nfe=nfe)
    return mean_squared_distance(x, reference.states[-1])


@torch.no_grad()
def local_error(reference: Reference, steps: int) -> float:
    """Mean over the steps of E‖one Euler step from x(t) − x(t + 1/steps)‖²: the local truncation error.

    Raises:
        ValueError: the reference does not have the times of ``steps`` equal steps.
    """
    stride, rest = divmod(len(reference.times) - 1, steps)
    if rest or not stride:
        raise ValueError(f"expected a divisor of {len(reference.times) - 1} steps, got {steps}")
    states, times = reference.states[::stride], reference.times[::stride]
    errors = []
    for i in range(steps):
        t = times[i].expand(len(states[i]))
        step = states[i] + reference.flow.velocity(states[i], t, reference.cond) / steps
        errors.append(mean_squared_distance(step, states[i + 1]))
    return sum(errors) / steps


def mean_squared_distance(x: Tensor, y: Tensor) -> float:
    """E‖x − y‖², in float64."""
    return float((x.double() - y.double()).flatten(1).square().sum(1).mean())
