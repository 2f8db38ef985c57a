"""Small cells on digits, many pairings of prior and coupling: what the ranking of `inspect` is checked on.

    python -m benchmarks.studies.digits_cells

Every cell trains the same small U-Net on the same batches and is judged at a few numbers of evaluations by
the data's own classifier (Fréchet distance of its features, accuracy) and by W2² per label, against the test
split.
"""

from __future__ import annotations

import time
from typing import Any

import torch
import typer

from benchmarks.studies.judge import Judge
from benchmarks.studies.sampling import draw_samples
from benchmarks.studies.settings import Setting
from benchmarks.studies.store import Cell, Store, choose_cells, use_threads
from benchmarks.studies.validation import everything
from flowprior.data import load_data
from flowprior.flow import Flow
from flowprior.metrics import wasserstein2_squared

STORE = Store("digits")
NFES = (0, 1, 2, 4, 8, 15)
SAMPLES = 1000
BUDGET: dict[str, Any] = {
    "model": "unet:widths=16-32",
    "steps": 800,
    "batch_size": 64,
    "ema": 0.99,
    "sample_every": 0,
}
LOWRANK = "gmm:covariance=lowrank,rank=16"
LATENT = "latent-gmm:components=4,rank=16"
SETTINGS = {
    "gaussian+condot": Setting(),
    "gaussian+batchot": Setting(coupling="ot:condition=ignore"),
    "gaussian+ot": Setting(coupling="ot"),
    "gmm+condot": Setting("gmm"),
    "gmm+ot": Setting("gmm", "ot"),
    "gmm-floor+ot": Setting("gmm:reg_covar=0.16", "ot"),
    "gmm8+posterior": Setting("gmm:components=8,shrinkage=2.0", "posterior"),
    "lowrank+condot": Setting(f"{LOWRANK},reg_covar=0.01", "condot"),
    "lowrank+ot": Setting(f"{LOWRANK},reg_covar=0.01", "ot"),
    "lowrank+posterior": Setting(f"{LOWRANK},reg_covar=0.01", "posterior"),
    "lowrank-floor+ot": Setting(f"{LOWRANK},reg_covar=0.16", "ot"),
    "lowrank-floor+posterior": Setting(f"{LOWRANK},reg_covar=0.16", "posterior"),
    "latent+posterior": Setting(f"{LATENT},reg_covar=0.04", "posterior"),
    "latent-floor+posterior": Setting(f"{LATENT},reg_covar=0.16", "posterior"),
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def run_cell(setting: Setting, seed: int, judge: Judge) -> Cell:
    """Train one setting and judge its samples at every number of evaluations."""
    data = load_data("digits")
    start = time.perf_counter()
    flow = setting.train(data, seed=seed, **BUDGET)
    seconds = time.perf_counter() - start
    return {
        **setting.as_dict(),
        "parameters": sum(p.numel() for p in flow.model.parameters()),  # type: ignore[union-attr]
        "features": judge.identities,
        "floor": judge.floor["test"],
        "rows": measure(flow, seed, judge),
        "train_seconds": seconds,
    }


def measure(flow: Flow, seed: int, judge: Judge, nfes: tuple[int, ...] = NFES) -> list[dict[str, float]]:
    """One row of figures against the test split for each number of evaluations."""
    real, real_labels = everything(load_data("digits", "test"))
    labels = torch.arange(SAMPLES) % flow.condition.size
    rows = []
    for nfe in nfes:
        x = draw_samples(flow, labels, nfe, generator=torch.Generator().manual_seed(1000 + seed))
        distances = [
            wasserstein2_squared(x[labels == label], real[real_labels == label])
            for label in range(flow.condition.size)
        ]
        row = judge.figures(x, labels)["test"] | {"w2_squared": sum(distances) / len(distances)}
        rows.append({"nfe": nfe, **row})
    return rows


@app.command()
def main(
    seeds: int = 2,
    threads: int = 1,
    shard: str = typer.Option("0/1", help="i/n: every n-th cell from the i-th on"),
) -> None:
    """Run every cell that has no result yet."""
    use_threads(threads)
    judge = Judge(load_data("digits"), {"test": load_data("digits", "test")}, SAMPLES, with_lite0=False)
    STORE.expect_judge(judge.identities)
    for name, seed in choose_cells([(name, seed) for seed in range(seeds) for name in SETTINGS], shard):
        cell = STORE.run(
            f"{name}-seed{seed}",
            lambda n=name, s=seed: run_cell(SETTINGS[n], s, judge),
            setting=name,
            seed=seed,
            samples=SAMPLES,
            **BUDGET,
        )
        figures = ", ".join(f"{row['nfe']}: {row['fid-cnn128']:.1f}" for row in cell["rows"])
        typer.echo(f"{name} seed {seed}: fid-cnn128 at NFE {figures}; {cell['train_seconds']:.0f} s")


if __name__ == "__main__":
    app()
