"""Priors and couplings on Fashion-MNIST at equal network, budget and data order (issue 2, item 2).

    python -m benchmarks.experiments.fashion_mnist              # all cells; stop and start it at will
    python -m benchmarks.experiments.fashion_mnist --shard 0/2  # every second cell, for a second process

A cell is one setting and one seed. A finished cell leaves a JSON file and is not run again; an
interrupted one goes on from its last checkpoint. ``python -m benchmarks.experiments.report`` turns the
files into docs/results.md.
"""

from __future__ import annotations

import json
import platform
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import typer
from torch import Tensor

from flowprior.data import Data, load_data
from flowprior.evaluation.classifier_training import data_classifier
from flowprior.evaluation.frechet import FeatureMoments
from flowprior.evaluation.lite0 import Lite0Features
from flowprior.flow import Flow
from flowprior.training import train

RESULTS = Path(__file__).parents[1] / "results" / "fashion-mnist"
RUNS = Path("runs") / "fashion-mnist"
NFES = (1, 2, 4, 8, 15)
LOWRANK = "gmm:covariance=lowrank,rank=64"
SETTINGS = {
    "gaussian+condot": ("gaussian", "condot"),
    "gmm+condot": ("gmm", "condot"),
    "lowrank64+posterior": (LOWRANK, "posterior"),
    "lowrank64+ot": (LOWRANK, "ot:ot_batch=1024"),
    "lowrank64-floor+ot": (f"{LOWRANK},reg_covar=0.16", "ot:ot_batch=1024"),
}
BUDGET: dict[str, Any] = {
    "batch_size": 128,
    "precision": "bfloat16",
    "channels_last": True,
    "sample_every": 0,
    "checkpoint_every": 300,
    "keep_checkpoints": 1,
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass
class Judge:
    """Test pictures and two sets of features to compare generated pictures with them."""

    test: Data
    samples: int

    def __post_init__(self) -> None:
        train_split = load_data("fashion-mnist")
        self.classifier = data_classifier(train_split)
        self.lite0 = Lite0Features()
        every = torch.arange(len(self.test))
        pictures, _ = self.test.batch(every)
        self.reference = self._moments(pictures)
        floor, _ = train_split.batch(torch.arange(self.samples))
        self.floor = self._distances(floor)

    def figures(self, pictures: Tensor, labels: Tensor) -> dict[str, float]:
        """Feature-FIDs and class accuracy of generated ``pictures`` in [-1, 1]."""
        pictures = pictures.clamp(-1, 1)
        accuracy = self.classifier.accuracy(pictures, labels)
        return {**self._distances(pictures), "accuracy": accuracy}

    def _moments(self, pictures: Tensor) -> dict[str, FeatureMoments]:
        return {
            f"fid-{self.classifier.features_name}": FeatureMoments.of([self.classifier.features(pictures)]),
            "fid-lite0": FeatureMoments.of([self.lite0.of(pictures)]),
        }

    def _distances(self, pictures: Tensor) -> dict[str, float]:
        return {name: own.distance(self.reference[name]) for name, own in self._moments(pictures).items()}


@cache
def make_judge(samples: int) -> Judge:
    """One judge a process; made after the first training, when the classifier may be cached already."""
    return Judge(load_data("fashion-mnist", "test"), samples)


def evaluate_flow(flow: Flow, judge: Judge, seed: int) -> list[dict[str, float]]:
    """One row of figures for each NFE, from the same starts."""
    labels = torch.arange(judge.samples) % 10
    rows = []
    for nfe in NFES:
        generator = torch.Generator().manual_seed(seed)
        pictures = flow.sample(labels, nfe=nfe, generator=generator, batch_size=250)
        rows.append({"nfe": nfe, **judge.figures(pictures, labels)})
    return rows


def run_cell(setting: str, seed: int, steps: int, samples: int) -> dict[str, Any]:
    """Train and evaluate one cell."""
    prior, coupling = SETTINGS[setting]
    out = RUNS / f"{setting}-seed{seed}"
    start = time.perf_counter()
    flow = train(
        "fashion-mnist",
        prior=prior,
        coupling=coupling,
        out=out,
        resume=True,
        seed=seed,
        steps=steps,
        **BUDGET,
    )
    seconds = time.perf_counter() - start
    info = json.loads((out / "info.json").read_text())
    judge = make_judge(samples)
    return {
        "setting": setting,
        "prior": prior,
        "coupling": coupling,
        "seed": seed,
        "steps": steps,
        **BUDGET,
        "parameters": sum(p.numel() for p in flow.model.parameters()),
        "samples": judge.samples,
        "reference": f"{len(judge.test)} test pictures",
        "floor": judge.floor,
        "rows": evaluate_flow(flow, judge, seed=1000 + seed),
        "train_seconds": seconds,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "run": {
            key: info.get(key) for key in ("transport_cost", "starts_gap", "prior_fit_seconds", "commit")
        },
    }


@app.command()
def main(
    steps: int = 1500,
    seeds: int = 3,
    samples: int = 2000,
    shard: str = "0/1",
    only: str = typer.Option("", help="one setting of: " + ", ".join(SETTINGS)),
    threads: int = typer.Option(0, help="torch threads; 0 leaves them alone"),
) -> None:
    """Run every cell that has no result yet."""
    if threads:
        torch.set_num_threads(threads)
    place, of = map(int, shard.split("/"))
    cells = [(s, seed) for seed in range(seeds) for s in SETTINGS if only in ("", s)]
    RESULTS.mkdir(parents=True, exist_ok=True)
    for setting, seed in cells[place::of]:
        target = RESULTS / f"{setting}-seed{seed}.json"
        if target.exists():
            continue
        cell = run_cell(setting, seed, steps, samples)
        target.write_text(json.dumps(cell, indent=1) + "\n")
        figures = ", ".join(f"{row['nfe']}: {row['fid-cnn128']:.1f}" for row in cell["rows"])
        typer.echo(f"{setting} seed {seed}: fid-cnn128 at NFE {figures}")


if __name__ == "__main__":
    app()
