"""The paper's toy: eight labelled Gaussians on a circle, their law known.

    python -m benchmarks.studies.eight_modes

Each setting and seed trains one small network. Against the number of evaluations: W2² of each mode, exact
between points and in closed form between the Gaussians fitted to them and the true ones; the squared distance
travelled; Euler's global and local truncation error against the flow's own exact solution.
"""

from __future__ import annotations

import math
import time
from typing import Any

import torch
import typer
from torch import Tensor

from benchmarks.studies import trajectories
from benchmarks.studies.sampling import draw_samples
from benchmarks.studies.settings import BATCH_OT, CONDOT, DDPM, Setting
from benchmarks.studies.store import Cell, Store, use_threads
from flowprior.couplings import transport_cost
from flowprior.data import Data, circle_of_centres, load_data
from flowprior.flow import Flow
from flowprior.metrics import frechet_distance, wasserstein2_per_condition

STORE = Store("eight-modes")
RADIUS = 5.0
MODES = 8
NFES = (0, 1, 2, 4, 8, 15, 30)
POINTS = 250  # of each mode
TRAJECTORIES = 50  # of each mode, solved exactly
BUDGET: dict[str, Any] = {
    "model": "mlp:width=64,depth=3",
    "steps": 700,
    "batch_size": 256,
    "lr": 2e-3,
    "warmup": 100,
    "ema": 0.995,
}
SETTINGS = {
    "gaussian+condot": CONDOT,
    "gaussian+batchot": BATCH_OT,
    "ddpm": DDPM,
    "designed+condot": Setting("gmm:covariance=spherical"),
    "designed+ot": Setting("gmm:covariance=spherical", "ot"),
    "gmm+condot": Setting("gmm"),
    "gmm+ot": Setting("gmm", "ot"),
}
"""The paper's designed prior is isotropic at each mean; ``gmm`` has the variance of each coordinate."""

Batch = tuple[Tensor, Tensor | None]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def run_cell(setting: Setting, seed: int) -> Cell:
    """Train one setting with one seed and measure it at every number of evaluations."""
    data = load_data(f"eight-modes:n=20000,seed={seed},radius={RADIUS}")
    start = time.perf_counter()
    flow = setting.train(data, seed=seed, sample_every=0, **BUDGET)
    seconds = time.perf_counter() - start
    real = real_points(seed)
    labels = torch.arange(MODES * TRAJECTORIES) % MODES
    x0 = flow.coupling.source(flow.prior, labels, generator=_generator(seed))
    reference = trajectories.solve_exactly(flow, x0, labels)
    return {
        **setting.as_dict(),
        "points": POINTS,
        "train_seconds": seconds,
        "parameters": sum(p.numel() for p in flow.model.parameters()),  # type: ignore[union-attr]
        "transport_cost": coupled_cost(flow, data, seed),
        "curvature": trajectories.curvature(reference),
        "floor": _law(data.batch(torch.arange(MODES * POINTS)), real),
        "rows": [_row(flow, setting, reference, nfe, seed, real) for nfe in NFES],
    }


def real_points(seed: int) -> Batch:
    """Points of the known law that samples are compared with."""
    test = load_data(f"eight-modes:n={MODES * POINTS},seed={seed},radius={RADIUS}", "test")
    return test.batch(torch.arange(len(test)))


def coupled_cost(flow: Flow, data: Data, seed: int) -> float:
    """Transport cost of 2,048 coupled pairs."""
    x1, cond = data.batch(torch.arange(2048))
    return transport_cost(flow.coupling.draw(flow.prior, x1, cond, generator=_generator(seed)), x1).item()


def row_of_the_prior(flow: Flow, seed: int) -> dict[str, float]:
    """The distances of the source samples; their truncation error is nothing to speak of."""
    labels = torch.arange(MODES * POINTS) % MODES
    return _law((draw_samples(flow, labels, 0, generator=_generator(seed)), labels), real_points(seed))


def _row(
    flow: Flow, setting: Setting, reference: trajectories.Reference, nfe: int, seed: int, real: Batch
) -> dict[str, float]:
    labels = torch.arange(MODES * POINTS) % MODES
    if nfe == 0:
        return {"nfe": 0, **row_of_the_prior(flow, seed)}
    solution = flow.solve(
        labels, nfe=nfe, sampler=setting.sampler, generator=_generator(seed), trajectory=True
    )
    assert solution.trajectory is not None
    return {
        "nfe": nfe,
        **_law((solution.x, labels), real),
        "travelled": trajectories.mean_squared_distance(solution.x, solution.trajectory[0]),
        "global_error": trajectories.global_error(reference, nfe),
        "local_error": trajectories.local_error(reference, nfe),
    }


def _law(generated: Batch, real: Batch) -> dict[str, float]:
    """W2² averaged over the modes: exact between points, and of fitted to true Gaussians."""
    (x, labels), (y, labels_y) = generated, real
    assert labels is not None
    distances = wasserstein2_per_condition(x, labels, y, labels_y, POINTS)
    true_cov = torch.diag((RADIUS * torch.tensor([0.03, 0.3])).double().square())
    centres = circle_of_centres(RADIUS).double()
    parts = [x[labels == mode].double() for mode in range(MODES)]
    gaussian = [
        frechet_distance(part.mean(0), part.T.cov(), centre, true_cov)
        for part, centre in zip(parts, centres, strict=True)
    ]
    return {"w2_squared": _mean(list(distances.values())), "w2_squared_gaussian": _mean(gaussian)}


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 + seed)


@app.command()
def main(
    seeds: int = 3, threads: int = 1, only: str = typer.Option("", help="one of: " + ", ".join(SETTINGS))
) -> None:
    """Run every cell that has no result yet."""
    use_threads(threads)
    for seed in range(seeds):
        for name, setting in SETTINGS.items():
            if only in ("", name):
                budget = {"setting": name, "seed": seed, **BUDGET}
                cell = STORE.run(f"{name}-seed{seed}", lambda s=setting, n=seed: run_cell(s, n), **budget)
                figures = ", ".join(f"{row['nfe']}: {row['w2_squared']:.3f}" for row in cell["rows"])
                typer.echo(f"{name} seed {seed}: W2² at NFE {figures}; {cell['seconds']:.0f} s")


if __name__ == "__main__":
    app()
