"""Further values of the two toys in the plane, whose laws are known.

values = "benchmarks.studies.toys:eight_modes"    # the paper's toy, labelled Gaussians on a circle
values = "benchmarks.studies.toys:moons"          # 8gaussians → moons, as C²OT measured it (arXiv 2503.10636)
trainer = "benchmarks.studies.toys:train_from_eight"
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.studies import Row, everything, generator, rows_of
from flowprior.couplings import transport_cost
from flowprior.data import Data, load_data
from flowprior.data.small import circle_of_centres, sample_eight_gaussians
from flowprior.evaluation.result import REAL_DATA
from flowprior.flow import Flow
from flowprior.metrics import frechet_distance, wasserstein2_per_condition, wasserstein2_squared
from flowprior.priors import Prior
from flowprior.samplers import Sampler, Velocity
from flowprior.training import train
from flowprior.training.config import RunConfig

RADIUS, MODES = 5.0, 8
NFES = (0, 1, 2, 4, 8, 15, 30)
OF_EACH_MODE = 250
TRAJECTORIES = 50  # of each mode, solved exactly
STEPS, TOLERANCE = 120, 1e-6  # of the exact solution
MOONS = 5_000
EULER = Sampler.create("euler")
Batch = tuple[Tensor, Tensor]


def eight_modes(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Distances at every number of evaluations, those of as many training points, errors and curvature.

    ``travelled`` is the squared distance from the source samples. Euler's truncation errors are against the
    flow's own exact solution, dopri5's in float64 at a tolerance of 1e-6.
    """
    labels = torch.arange(MODES * OF_EACH_MODE) % MODES
    test = f"eight-modes:n={len(labels)},seed={cell.seed},radius={RADIUS}"
    real, (x, own) = everything(load_data(test, "test")), everything(load_data(cell.config.data))
    velocity, exact = solve_exactly(flow, cell.seed)
    shared = {"samples": OF_EACH_MODE, "split": "test"}
    rows = rows_of({"curvature": curvature(exact)})
    rows += rows_of(distances((x[: len(labels)], own[: len(labels)]), real), flow=REAL_DATA, **shared)
    sampler, start = cell.variant.specs[0], None
    for nfe in NFES:
        x = flow.solve(labels, nfe=nfe, sampler=sampler, generator=generator(cell.seed)).x
        found = distances((x, labels), real)
        start = x if start is None else start
        if nfe:
            found["travelled"] = float(transport_cost(x, start))
            found |= truncation_errors(velocity, exact, nfe)
        rows += rows_of(found, nfe=nfe, sampler=sampler, **shared)
    return rows


def distances(generated: Batch, real: Batch) -> dict[str, float]:
    """W2² averaged over the modes: exact between points, and of fitted to true Gaussians."""
    x, labels = generated
    exact = wasserstein2_per_condition(x, labels, *real, OF_EACH_MODE)
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


def solve_exactly(flow: Flow, seed: int) -> tuple[Velocity, Tensor]:
    """The velocity in float64 of given labels, and its trajectories ``[STEPS + 1, B, 2]`` at equal times."""
    labels = torch.arange(MODES * TRAJECTORIES) % MODES
    x0 = flow.coupling.source(flow.prior, labels, generator=generator(seed)).double()
    precise = copy.deepcopy(flow).double()
    sampler = Sampler.create("dopri5", rtol=TOLERANCE, atol=TOLERANCE, points=STEPS + 1)
    with torch.no_grad():
        solution = sampler.solve(precise.velocity, x0, labels, trajectory=True)
    assert solution.trajectory is not None
    return lambda x, t, _: precise.velocity(x, t, labels), solution.trajectory


def curvature(exact: Tensor) -> float:
    """E ∫‖x'(t) − (x(1) − x(0))‖² dt of the trajectories; 0 where they are straight and steady."""
    steps = exact.diff(dim=0) * STEPS
    return float((steps - (exact[-1] - exact[0])).flatten(2).square().sum(2).mean())


@torch.no_grad()
def truncation_errors(velocity: Velocity, exact: Tensor, nfe: int) -> dict[str, float]:
    """Of Euler's ``nfe`` steps: E‖x − x(1)‖² at the end, and the mean of E‖x − x(t + 1/nfe)‖² of single ones.

    Args:
        velocity: of the trajectories.
        exact: trajectories; ``nfe`` divides their steps. Euler starts with them, and single steps on them.
        nfe: number of steps.
    """
    assert STEPS % nfe == 0
    ends = exact[:: STEPS // nfe]
    single = [
        transport_cost(x + velocity(x, torch.full((len(x),), i / nfe).to(x), None) / nfe, ends[i + 1])
        for i, x in enumerate(ends[:-1])
    ]
    whole = transport_cost(EULER.integrate(velocity, exact[0], None, nfe=nfe), exact[-1])
    return {"global_error": float(whole), "local_error": float(sum(single)) / nfe}


def train_from_eight(config: RunConfig, data: Data, out: Path | None = None) -> Flow:
    """Train from a mixture fitted to 8gaussians: a trainer of a study."""
    generator = torch.Generator().manual_seed(config.training.seed)
    source = Prior.create("gmm", components=8)
    source.fit(sample_eight_gaussians(50_000, generator=generator), generator=generator)
    return train(data, prior=source, config=config, out=out, resume=out is not None)


def moons(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """W2² of 5,000 points, both classes pooled, with Euler in one step and with dopri5.

    The paper takes 10,000 points, of which exact transport takes 10 times longer.
    """
    real, labels = everything(load_data(f"8gaussians-to-moons:n={MOONS},seed={cell.seed}", "test"))
    rows: list[Row] = []
    for sampler, nfe in (("euler", 1), ("dopri5", None)):
        generator = torch.Generator().manual_seed(cell.seed)
        x = flow.sample(labels, nfe=nfe, sampler=sampler, generator=generator)
        found = {"w2_squared": wasserstein2_squared(x, real)}
        rows += rows_of(found, sampler=sampler, nfe=nfe, samples=MOONS, split="test")
    return rows
