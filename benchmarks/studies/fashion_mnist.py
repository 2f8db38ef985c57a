"""Priors, couplings, DDPM and peers at equal network, budget and data order.

    python -m benchmarks.studies.fashion_mnist              # all cells; stop and start it at will
    python -m benchmarks.studies.fashion_mnist --group candidates --steps 500 --seeds 1  # before
    python -m benchmarks.studies.fashion_mnist --group ranking --seeds 1  # for inspect_ranking
    python -m benchmarks.studies.fashion_mnist --group strong --steps 4000 --seeds 1  # a stronger network
    python -m benchmarks.studies.fashion_mnist --shard 0/2  # every second cell, for a second process
    python -m benchmarks.studies.fashion_mnist --data folder:path=/data/imagenet64 --steps 100000

A cell is one setting and one seed. A finished cell leaves a JSON file and is not run again; an interrupted
one goes on from its last checkpoint. Of the training split some pictures are held out for choosing a setting;
each cell is judged against these and, for the record only, against the test split.
``python -m benchmarks.studies.report`` turns the files into docs/results.md.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import typer

from benchmarks.studies.image_cells import NFES, Plan, run_cell
from benchmarks.studies.judge import Judge
from benchmarks.studies.settings import BASELINES, Setting
from benchmarks.studies.store import Cell, Store, choose_cells, use_threads
from benchmarks.studies.validation import Subset, split_validation
from flowprior.data import load_data

DATA = "fashion-mnist"
VALIDATION = 5000
LOWRANK = "gmm:covariance=lowrank,rank=64"
RIVALS = {
    **BASELINES,
    "torchcfm-ot": Setting(peer="torchcfm-ot"),
    "flow_matching": Setting(peer="flow_matching"),
}
"""What a design is compared with: the paper's baselines, and the peers."""
CANDIDATES = {
    "lowrank64-floor+ot": Setting(f"{LOWRANK},reg_covar=0.16", "ot:ot_batch=1024"),
    **{
        f"latent{rank}-{floor}+posterior": Setting(f"latent-gmm:rank={rank},reg_covar={floor}", "posterior")
        for rank, floor in [
            *((64, floor) for floor in (0.16, 0.09, 0.04, 0.01, 0.0025)),
            *((128, 0.09), (128, 0.04)),
        ]
    },
    **{
        f"latent{rank}-{floor}+residual": Setting(
            f"latent-gmm:rank={rank},reg_covar={floor}", "posterior", prediction="residual"
        )
        for rank, floor in [
            *((64, floor) for floor in (0.16, 0.09, 0.04, 0.02, 0.01, 0.0025, 0.001)),
            *((16, 0.04), (32, 0.04), (32, 0.01), (48, 0.04), (128, 0.09)),
        ]
    },
}
"""Designs to choose from on the validation split, at a smaller budget."""
CHOSEN = "latent64-0.01+residual"
"""On the validation split, after 1,000 steps. The default's floor is 0.04: docs/choosing.md says why."""
PAIRINGS = {
    "gaussian+ot": Setting(coupling="ot"),
    "gmm+condot": Setting("gmm"),
    "gmm+ot": Setting("gmm", "ot"),
    "gmm8+condot": Setting("gmm:components=8"),
    "lowrank64+condot": Setting(LOWRANK),
    "lowrank64+ot": Setting(LOWRANK, "ot:ot_batch=1024"),
    "lowrank64+posterior": Setting(LOWRANK, "posterior"),
}
"""The paper's own prior, and pairings that make the ranking of ``flowprior inspect`` a test of many."""
SETTINGS = {**PAIRINGS, **RIVALS, "torchcfm": Setting(peer="torchcfm"), **CANDIDATES}
GROUPS = {
    "final": ("gaussian+condot", CHOSEN, "torchcfm-ot", "flow_matching", "gmm+condot", "ddpm"),
    "candidates": (*CANDIDATES, "gaussian+condot", "torchcfm-ot"),
    "ranking": (*PAIRINGS, "gaussian+batchot", "latent64-0.09+posterior", "lowrank64-floor+ot"),
    "strong": ("gaussian+condot", "gmm+condot", CHOSEN, "torchcfm-ot", "ddpm"),
}
"""What is run together, in this order: the figures, the choice before them, and two questions besides."""
CURVES = ("gaussian+condot", "gmm+condot", CHOSEN)
"""The settings whose quality is followed over the training: the paper's claim of faster convergence."""
BUDGET: dict[str, Any] = {
    "model": "unet:widths=32-64",
    "batch_size": 64,
    "channels_last": True,
    "sample_every": 0,
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def experiment_name(data: str, steps: int) -> str:
    """Name of the folders of results and runs, such as ``fashion-mnist-1800``."""
    plain = "".join(c if c.isalnum() else "-" for c in data).strip("-")
    return f"{plain}-{steps}"


def runs_folder(data: str, steps: int) -> Path:
    """Where the cells are trained."""
    return Path("runs") / experiment_name(data, steps)


@cache
def make_parts(data: str) -> tuple[Subset, Subset]:
    """(training part, validation part) of the training split."""
    whole = load_data(data)
    return split_validation(whole, min(VALIDATION, len(whole) // 6))


@cache
def make_judge(data: str, samples: int) -> Judge:
    """One judge a process. Its classifier knows the training part alone; ``judge_weights`` keeps it."""
    train, validation = make_parts(data)
    return Judge(train, {"test": load_data(data, "test"), "validation": validation}, samples)


def cell_line(name: str, seed: int, cell: Cell) -> str:
    """One finished cell in one line."""
    first = next(key for key in cell["rows"][0] if key.startswith("fid-"))
    figures = ", ".join(f"{row['nfe']}: {row[first]:.1f}" for row in cell["rows"])
    minutes = f"{cell['train_seconds'] / 60:.0f} + {cell['judge_seconds'] / 60:.0f} min"
    return f"{name} seed {seed}: {first} at NFE {figures}; {minutes}"


@app.command()
def main(
    steps: int = 1200,
    seeds: int = 3,
    samples: int = 2000,
    snapshots: int = typer.Option(5, help="steps of the training whose averaged weights are judged, too"),
    curve_samples: int = 1000,
    curve_seeds: int = typer.Option(1, help="seeds whose training is followed"),
    sampler_seeds: int = typer.Option(0, help="seeds for which other samplers are judged, too"),
    shard: str = typer.Option("0/1", help="i/n: every n-th cell from the i-th on"),
    group: str = typer.Option("final", help="what to run: " + ", ".join(GROUPS)),
    only: str = typer.Option("", help="settings, separated by commas, of: " + ", ".join(SETTINGS)),
    data: str = typer.Option(DATA, help="labelled pictures with a test split"),
    threads: int = typer.Option(0, help="torch threads; 0 leaves them alone"),
) -> None:
    """Run every cell that has no result yet."""
    use_threads(threads)
    if group not in GROUPS:
        raise typer.BadParameter(f"unknown group {group!r}; known: {', '.join(GROUPS)}")
    chosen = only.split(",") if only else list(GROUPS[group])
    unknown = [name for name in chosen if name not in SETTINGS]
    if unknown:
        raise typer.BadParameter(f"unknown settings {unknown}; known: {', '.join(SETTINGS)}")
    store = Store(experiment_name(data, steps))
    train, _ = make_parts(data)
    judge = make_judge(data, samples)
    store.expect_judge(judge.identities)
    plan = Plan(train, judge, steps, samples, snapshots, curve_samples, BUDGET)
    without_curve = replace(plan, snapshots=0)
    for name, seed in choose_cells([(name, seed) for seed in range(seeds) for name in chosen], shard):
        own = plan if name in CURVES and seed < curve_seeds and group != "candidates" else without_curve
        cell = store.run(
            f"{name}-seed{seed}",
            lambda n=name, s=seed, p=own: run_cell(
                SETTINGS[n], s, p, runs_folder(data, steps) / f"{n}-seed{s}", s < sampler_seeds
            ),
            setting=name,
            seed=seed,
            steps=steps,
            samples=samples,
            nfes=NFES,
        )
        typer.echo(cell_line(name, seed, cell))


if __name__ == "__main__":
    app()
