"""The paper's toy: eight labelled Gaussians on a circle, whose law is known.

    values = "benchmarks.studies.eight_modes:values"

Against the number of evaluations: W2² of each mode, exact between points and in closed form between the
Gaussians fitted to them and the true ones; the squared distance travelled; Euler's global and local
truncation error against the flow's own exact solution, which is dopri5's in float64 at a tolerance of 1e-6.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.studies.protocol import Row, everything, generator, rows_of
from flowprior.data import circle_of_centres, load_data
from flowprior.evaluation.result import REAL_DATA
from flowprior.flow import Flow
from flowprior.metrics import frechet_distance, wasserstein2_per_condition
from flowprior.samplers import Sampler

RADIUS, MODES = 5.0, 8
NFES = (0, 1, 2, 4, 8, 15, 30)
POINTS = 250  # of each mode
TRAJECTORIES = 50  # of each mode, solved exactly
TOLERANCE = 1e-6
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Reference:
    """Exact trajectories of a flow.

    Attributes:
        flow: the flow in float64.
        times: ``[T]``, equally spaced in [0, 1].
        states: ``[T, B, *event]``; the first are the source samples.
        cond: their conditions.
    """

    flow: Flow
    times: Tensor
    states: Tensor
    cond: Tensor | None


def values(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Every value of a trained flow, and the distances of as many training points."""
    seed = cell.seed
    real = everything(load_data(f"eight-modes:n={MODES * POINTS},seed={seed},radius={RADIUS}", "test"))
    labels = torch.arange(MODES * TRAJECTORIES) % MODES
    reference = solve_exactly(
        flow, flow.coupling.source(flow.prior, labels, generator=generator(seed)), labels
    )
    rows = rows_of(cell, {"curvature": curvature(reference)})
    x, modes = everything(load_data(cell.config.data))
    points = (x[: MODES * POINTS], modes[: MODES * POINTS])
    rows += rows_of(cell, distances(points, real), flow=REAL_DATA, samples=POINTS, split="test")
    for nfe in NFES:
        found = at_nfe(flow, cell.samplers[0], reference, nfe, seed, real)
        rows += rows_of(cell, found, nfe=nfe, sampler=cell.samplers[0], samples=POINTS, split="test")
    return rows


def at_nfe(
    flow: Flow, sampler: str, reference: Reference, nfe: int, seed: int, real: Batch
) -> dict[str, float]:
    """Distances of the samples and their truncation error; of the source samples distances alone."""
    labels = torch.arange(MODES * POINTS) % MODES
    solution = flow.solve(labels, nfe=nfe, sampler=sampler, generator=generator(seed), trajectory=True)
    found = distances((solution.x, labels), real)
    if nfe == 0:
        return found
    assert solution.trajectory is not None
    return found | {
        "travelled": mean_squared_distance(solution.x, solution.trajectory[0]),
        "global_error": global_error(reference, nfe),
        "local_error": local_error(reference, nfe),
    }


def distances(generated: Batch, real: Batch) -> dict[str, float]:
    """W2² averaged over the modes: exact between points, and of fitted to true Gaussians."""
    x, labels = generated
    exact = wasserstein2_per_condition(x, labels, *real, POINTS)
    true_cov = torch.diag((RADIUS * torch.tensor([0.03, 0.3])).double().square())
    parts = [x[labels == mode].double() for mode in range(MODES)]
    gaussian = [
        frechet_distance(part.mean(0), part.T.cov(), centre, true_cov)
        for part, centre in zip(parts, circle_of_centres(RADIUS).double(), strict=True)
    ]
    return {
        "w2_squared": math.fsum(exact.values()) / MODES,
        "w2_squared_gaussian": math.fsum(gaussian) / MODES,
    }


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
    """E‖x − x(1)‖² of Euler's ``nfe`` steps from the same source samples: the global truncation error."""
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
