"""Beyond pictures: 700 blood cells of ten unbalanced types as PCA vectors [50] (issue 4, must-show 5).

    python -m benchmarks.experiments.cells

Every setting trains the same MLP on the same batches. Per type W2², exact, between generated cells and the
held-out ones of that type, averaged over types; five seeds, each with another split of the cells.
"""

from __future__ import annotations

import time
from typing import Any

import torch
import typer
from torch import Tensor

from benchmarks.experiments.settings import BATCH_OT, CONDOT, DDPM, Setting
from benchmarks.experiments.store import Cell, Store, use_threads
from benchmarks.experiments.validation import everything
from flowprior.data import load_data
from flowprior.evaluation import wasserstein2_squared

STORE = Store("cells")
NFES = (1, 2, 4, 8, 15, 30)
PER_TYPE = 200
BUDGET: dict[str, Any] = {
    "model": "mlp:width=256,depth=3",
    "steps": 1000,
    "batch_size": 128,
    "lr": 1e-3,
    "warmup": 100,
    "ema": 0.995,
}
SETTINGS = {
    "gaussian+condot": CONDOT,
    "gaussian+batchot": BATCH_OT,
    "ddpm": DDPM,
    "gmm+condot": Setting("gmm:shrinkage=2.0"),
    "gmm+ot": Setting("gmm:shrinkage=2.0", "ot"),
    "full+ot": Setting("gmm:covariance=full,shrinkage=20.0", "ot"),
    "lowrank8+ot": Setting("gmm:covariance=lowrank,rank=8,shrinkage=2.0", "ot"),
    "lowrank8+posterior": Setting("gmm:covariance=lowrank,rank=8,shrinkage=2.0", "posterior"),
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def run_cell(setting: Setting, seed: int) -> Cell:
    """Train one setting on one split of the cells and measure every type."""
    data, test = (load_data(f"cells:seed={seed}", split) for split in ("train", "test"))
    start = time.perf_counter()
    flow = setting.train(data, seed=seed, sample_every=0, **BUDGET)
    seconds = time.perf_counter() - start
    labels = torch.arange(data.condition.size).repeat_interleave(PER_TYPE)
    rows = []
    for nfe in NFES:
        generator = torch.Generator().manual_seed(1000 + seed)
        x = flow.sample(labels, nfe=nfe, sampler=setting.sampler, generator=generator)
        rows.append({"nfe": nfe, **per_type(x, labels, *everything(test))})
    starts = flow.prior.sample(labels, generator=torch.Generator().manual_seed(1000 + seed))
    return {
        **setting.as_dict(),
        "train_seconds": seconds,
        "training_cells": len(data),
        "test_cells": len(test),
        "types": data.class_names,
        "rows": rows,
        "starts": per_type(starts, labels, *everything(test)),
        "floor": per_type(*everything(data), *everything(test)),
    }


def per_type(x: Tensor, labels: Tensor | None, real: Tensor, real_labels: Tensor | None) -> dict[str, Any]:
    """W2² of each type, and their mean."""
    assert labels is not None
    assert real_labels is not None
    types = real_labels.unique().tolist()
    each = [wasserstein2_squared(x[labels == kind], real[real_labels == kind]) for kind in types]
    return {"w2_squared": sum(each) / len(each), "each": each}


@app.command()
def main(
    seeds: int = 5, threads: int = 1, only: str = typer.Option("", help="one of: " + ", ".join(SETTINGS))
) -> None:
    """Run every cell that has no result yet."""
    use_threads(threads)
    for seed in range(seeds):
        for name, setting in SETTINGS.items():
            if only in ("", name):
                cell = STORE.run(
                    f"{name}-seed{seed}",
                    lambda p=setting, s=seed: run_cell(p, s),
                    setting=name,
                    seed=seed,
                    per_type=PER_TYPE,
                    **setting.as_dict(),
                    **BUDGET,
                )
                shown = ", ".join(f"{row['nfe']}: {row['w2_squared']:.2f}" for row in cell["rows"])
                floors = f"starts {cell['starts']['w2_squared']:.2f}, floor {cell['floor']['w2_squared']:.2f}"
                typer.echo(f"{name} seed {seed}: W2² at NFE {shown}; {floors}")


if __name__ == "__main__":
    app()
