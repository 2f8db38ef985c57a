"""The main job in a minute: train on digits from three designs of the prior and compare them.

    python benchmarks/demo.py --out runs/demo

Network, steps, data order and seed are the same in all three; only prior and coupling differ. Leaves one
run directory for each, ``evaluation-*.json``, and ``samples.png``.

Each design is trained and evaluated by a process of its own with one thread, as many at a time as there are
cores: with a network this small, a second core does more for a second training than for the first.
"""

from __future__ import annotations

import multiprocessing
import os
import shlex
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from rich.console import Console
from rich.table import Table

from flowprior import Flow, evaluate, train
from flowprior.data import load_data
from flowprior.evaluation import Result
from flowprior.pictures import beside, save_figure
from flowprior.pictures.grid import Panel
from flowprior.progress.stages import Stage
from flowprior.training import RunDirectory, read_metrics
from flowprior.training.config import AUTO, DEFAULT_PRIOR

DESIGNS = {
    "default": (DEFAULT_PRIOR, AUTO),
    "gaussian": ("gaussian", "condot"),
    "gmm": ("gmm", "condot"),
}
ROWS = {
    "gaussian": "gaussian: N(0,I)",
    "gmm": "gmm: a Gaussian for each digit",
    "default": "default prior (latent-gmm)",
}
"""What stands beside the samples of each design, in the order of the picture and the table."""
BASELINE = next(iter(ROWS))
NFE = (0, 1, 2, 4, 15)
PICTURE_NFE = (0, 1, 2, 4)
DIGITS = (2, 2, 2, 4, 4, 4)
SIDE = 48
"""The side of an image in the picture, in pixels; 8 x 8 pixels are easier to read when enlarged smoothly."""
TITLE = "Twos and fours after few evaluations of the network (8 x 8 pixels, enlarged smoothly)"


def main(
    out: Annotated[Path, typer.Option(help="Folder for the runs and the picture.")] = Path("runs/demo"),
    steps: Annotated[int, typer.Option(help="Optimiser steps of each run.")] = 400,
    samples: Annotated[int, typer.Option(help="Samples behind each value.")] = 1000,
) -> None:
    """Train, compare, draw."""
    console = Console()
    results = run_designs(out, steps, samples)
    console.print(comparison({design: results[design] for design in ROWS}))
    panels = sample_panels({design: Flow.load(out / design / "flow") for design in ROWS})
    figure = beside(panels, names=[*ROWS.values(), "real digits"], columns=len(DIGITS), title=TITLE)
    save_figure(figure, picture := out / "samples.png")
    console.print(f"the picture is {picture}\nnext: {next_command(out)}", soft_wrap=True, markup=False)


def run_designs(out: Path, steps: int, samples: int) -> dict[str, Result]:
    """Train and evaluate every design, beside each other, with a line of progress for each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(len(DESIGNS), cores), spawn, torch.set_num_threads, (1,)) as pool:
        futures = {design: pool.submit(run_design, design, out, steps, samples) for design in DESIGNS}
        try:
            follow(futures, out, steps)
        except BaseException:  # Ctrl-C ends the trainings, too; the one that waits must not start
            pool.shutdown(cancel_futures=True)
            raise
        return {design: future.result() for design, future in futures.items()}


def follow(futures: Mapping[str, Future[Result]], out: Path, steps: int) -> None:
    """Show how far the run of each design has come, under its name, until all have ended."""
    stages: dict[str, Stage] = {}
    running = True
    while running:
        running = bool(wait(futures.values(), timeout=1).not_done)
        for design, future in futures.items():
            run = RunDirectory(out / design)
            if design not in stages and run.path.exists():
                stages[design] = Stage(f"train {design}", steps, everywhere=True, kept=True)
            if design in stages:
                done = max((line["step"] for line in read_metrics(run.metrics)), default=0)
                doing = "evaluated" if future.done() else "evaluating"
                stages[design].update(done, doing if done == steps else None)
                if future.done():
                    stages[design].stop()


def run_design(design: str, out: Path, steps: int, samples: int) -> Result:
    """Train one design in its run directory, and evaluate what comes of it."""
    prior, coupling = DESIGNS[design]
    options = {"steps": steps, "seed": 0, "progress": False}
    flow = train("digits", prior=prior, coupling=coupling, out=out / design, **options)
    test = load_data("digits", split="test")
    result = evaluate(flow, "digits", reference=test, nfe=NFE, samples=samples, progress=False)
    result.save(out / f"evaluation-{design}.json")
    return result


def next_command(out: Path) -> str:
    """A line that can be typed where the demo was started, whether or not its environment is activated."""
    program = os.path.relpath(Path(sys.executable).with_name("flowprior"))
    asked = ["--cond", "3", "--nfe", "4", "--out", "threes.png"]
    return shlex.join([program, "sample", str(out / "default"), *asked])


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


def sample_panels(flows: Mapping[str, Flow]) -> dict[str, Panel]:
    """A panel for each number of evaluations; a row for each design, the last one real images."""
    digits = torch.tensor(DIGITS)
    x1, labels = load_data("digits", split="test").batch(torch.arange(300))
    assert isinstance(labels, torch.Tensor)
    real = {digit: list(x1[labels == digit]) for digit in DIGITS}
    rows = torch.arange(len(flows) + 1).repeat_interleave(len(digits))
    panels = {}
    for nfe in PICTURE_NFE:
        x = [
            flow.sample(digits, nfe=nfe, generator=torch.Generator().manual_seed(0))
            for flow in flows.values()
        ]
        x.append(torch.stack([real[digit].pop(0) for digit in DIGITS]))
        seen = F.interpolate(torch.cat(x).clamp(-1, 1), size=(SIDE, SIDE), mode="bicubic")
        name = f"{nfe} evaluation{'' if nfe == 1 else 's'}{'' if nfe else ': the source'}"
        panels[name] = (seen, rows)
    return panels


if __name__ == "__main__":
    typer.run(main)
