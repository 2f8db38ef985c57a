"""The main job in a few minutes: train on digits from three designs of the prior and compare them.

    python benchmarks/demo.py --out runs/demo

Network, steps, data order and seed are the same in all three; only prior and coupling differ. Leaves one
run directory for each, ``evaluation-*.json``, and ``samples.png``.

Each design is trained and evaluated by a process of its own with one thread, as many at a time as there are
cores: with a network this small, a second core does more for a second training than for the first.
"""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, wait
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from flowprior import Flow, evaluate, train
from flowprior.data import load_data
from flowprior.evaluation import Result
from flowprior.pictures import beside, first_of_each, save_figure
from flowprior.training import DEFAULT_COUPLING, DEFAULT_PRIOR, RunDirectory, read_metrics

DESIGNS = {
    "gaussian+condot": ("gaussian", "condot"),
    "gmm+condot": ("gmm", "condot"),
    "default": (DEFAULT_PRIOR, DEFAULT_COUPLING),
}
BASELINE = next(iter(DESIGNS))
NFE = (0, 1, 2, 4, 8, 15, 30)
PICTURE_NFE = 4
COLUMNS = 6


def main(
    out: Annotated[Path, typer.Option(help="Folder for the runs and the picture.")] = Path("runs/demo"),
    steps: Annotated[int, typer.Option(help="Optimiser steps of each run.")] = 1000,
    samples: Annotated[int, typer.Option(help="Samples behind each value.")] = 2000,
) -> None:
    """Train, compare, draw."""
    console = Console()
    console.print(comparison(run_designs(out, steps, samples)))
    picture = out / "samples.png"
    draw({design: Flow.load(out / design / "flow") for design in DESIGNS}, picture)
    note = f"Samples with {PICTURE_NFE} evaluations of {', '.join(DESIGNS)}, beside real ones: {picture}"
    console.print(note, soft_wrap=True, highlight=False)


def run_designs(out: Path, steps: int, samples: int) -> dict[str, Result]:
    """Train and evaluate every design, beside each other, with a bar for each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(len(DESIGNS), cores), spawn, torch.set_num_threads, (1,))
    with pool, Progress(console=Console(stderr=True)) as progress:
        tasks = {design: progress.add_task(design, total=steps) for design in DESIGNS}
        futures = {design: pool.submit(run_design, design, out, steps, samples) for design in DESIGNS}
        try:
            while wait(futures.values(), timeout=1).not_done:
                for design, task in tasks.items():
                    lines = read_metrics(RunDirectory(out / design).metrics)
                    progress.update(task, completed=max((line["step"] for line in lines), default=0))
        except BaseException:  # Ctrl-C ends the trainings, too; the one that waits must not start
            pool.shutdown(cancel_futures=True)
            raise
        for task in tasks.values():
            progress.update(task, completed=steps)
        return {design: future.result() for design, future in futures.items()}


def run_design(design: str, out: Path, steps: int, samples: int) -> Result:
    """Train one design in its run directory, and evaluate what comes of it."""
    prior, coupling = DESIGNS[design]
    flow = train("digits", prior=prior, coupling=coupling, steps=steps, seed=0, out=out / design)
    test = load_data("digits", split="test")
    result = evaluate(flow, "digits", reference=test, nfe=NFE, samples=samples)
    result.save(out / f"evaluation-{design}.json")
    return result


def comparison(results: dict[str, Result]) -> Table:
    """NFE against quality, the designs beside each other; × is the ratio to the baseline."""
    first = results[BASELINE]
    fid = first.fid_name or ""
    terms = first.metrics[fid]
    caption = f"{terms.samples} samples against {terms.reference}; × is the ratio to {BASELINE}"
    table = Table("", title="digits: NFE against quality; same network, budget and seed", caption=caption)
    for name in ("NFE", *results):
        table.add_column(name, justify="right")
    for metric, title in ((fid, f"{fid} ↓"), ("accuracy", "accuracy ↑")):
        for nfe in NFE:
            baseline, *others = (result.value(metric, nfe) for result in results.values())
            ratios = [f" (× {value / baseline:.2f})" if metric == fid else "" for value in others]
            cells = (f"{value:.3g}{ratio}" for value, ratio in zip(others, ratios, strict=True))
            table.add_row(title if nfe == NFE[0] else "", str(nfe), f"{baseline:.3g}", *cells)
        score = f"{first.real_data_score(metric):.3g}"
        table.add_row("", "real", *[score] * len(results), style="dim", end_section=True)
    return table


def draw(flows: dict[str, Flow], path: Path) -> None:
    """One row a digit: real ones, and those of each design from the same generator seed."""
    x1, labels = load_data("digits", split="test").batch(torch.arange(200))
    assert isinstance(labels, torch.Tensor)
    rows = first_of_each(labels, len(x1), COLUMNS)
    panels = {"real data": (x1[rows], labels[rows])}
    digits = torch.arange(10).repeat_interleave(COLUMNS)
    for design, flow in flows.items():
        x = flow.sample(digits, nfe=PICTURE_NFE, generator=torch.Generator().manual_seed(0))
        panels[design] = (x, digits)
    save_figure(beside(panels, title=f"digits, {PICTURE_NFE} evaluations"), path)


if __name__ == "__main__":
    typer.run(main)
