"""8gaussians → moons with two classes, as C²OT measured it (arXiv 2503.10636).

    python -m benchmarks.studies.moons

The source is a mixture fitted to 8gaussians without a condition, the target moons with its two labels.
Three couplings, ten seeds; W2² between 5,000 generated and as many real points, both classes pooled as in
the paper (which takes 10,000), with Euler in one step and with dopri5.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
import typer

from flowprior.data import load_data
from flowprior.data.toys import sample_eight_gaussians
from flowprior.metrics import wasserstein2_squared
from flowprior.priors import Prior
from flowprior.training import train

RESULTS = Path(__file__).parents[1] / "results" / "moons"
COUPLINGS = {"FM": "independent", "OT": "ot:condition=ignore", "C2OT, within": "ot:condition=within"}
POINTS = 5_000  # exact transport of 10,000 takes 10 times longer
BUDGET: dict[str, Any] = {"batch_size": 256, "lr": 2e-3, "ema": 0.999, "warmup": 100}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def run_cell(name: str, seed: int, steps: int) -> dict[str, Any]:
    """Train one coupling with one seed and measure its samples."""
    generator = torch.Generator().manual_seed(seed)
    start = time.perf_counter()
    source = Prior.create("gmm", components=8)
    source.fit(sample_eight_gaussians(50_000, generator=generator), generator=generator)
    data = load_data(f"8gaussians-to-moons:n=100000,seed={seed}")
    flow = train(
        data, prior=source, coupling=COUPLINGS[name], model="mlp:width=128,depth=3", seed=seed, steps=steps,
        sample_every=0, **BUDGET,
    )  # fmt: skip
    trained = time.perf_counter()
    reference = load_data(f"8gaussians-to-moons:n={POINTS},seed={seed}", "test")
    real, labels = reference.batch(torch.arange(POINTS))
    figures: dict[str, float] = {}
    for sampler, nfe in (("euler", 1), ("dopri5", None)):
        generated = flow.sample(labels, nfe=nfe, sampler=sampler, generator=generator.manual_seed(seed))
        figures[sampler] = wasserstein2_squared(generated, real)
    return {"coupling": COUPLINGS[name], "name": name, "seed": seed, "steps": steps, **BUDGET,
            "model": "mlp:width=128,depth=3", "points": POINTS, "w2_squared": figures,
            "train_seconds": trained - start, "w2_seconds": time.perf_counter() - trained}  # fmt: skip


@app.command()
def main(steps: int = 4000, seeds: int = 10, first: int = 0, threads: int = 0) -> None:
    """Run every cell that has no result yet."""
    if threads:
        torch.set_num_threads(threads)
    RESULTS.mkdir(parents=True, exist_ok=True)
    for seed in range(first, seeds):
        for name, coupling in COUPLINGS.items():
            target = RESULTS / f"{coupling.replace(':condition=', '-')}-seed{seed}.json"
            if not target.exists():
                cell = run_cell(name, seed, steps)
                target.write_text(json.dumps(cell, indent=1) + "\n")
                euler, dopri5 = cell["w2_squared"].values()
                seconds = f"{cell['train_seconds']:.0f} + {cell['w2_seconds']:.0f} s"
                typer.echo(f"{name} seed {seed}: W2² euler-1 {euler:.3f}, dopri5 {dopri5:.3f}; {seconds}")


if __name__ == "__main__":
    app()
