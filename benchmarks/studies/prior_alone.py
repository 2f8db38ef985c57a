"""Add the prior alone, NFE 0, to finished cells that were judged before it was part of every table.

    python -m benchmarks.studies.prior_alone                # every experiment that trains a judge or none
    python -m benchmarks.studies.prior_alone --only digits

The prior alone needs no training: it is fitted again as the run fitted it, with the run's seed, and its
source samples are judged by the committed judge. A cell of another judge gets no such row. Where the cell
says something of its prior (its transport cost, its log-density), that is measured again and must come back,
else the prior is not the run's (its code has changed since) and the cell gets no row either. The cell keeps
under ``added`` which commit added the row, and both measurements.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import typer
from torch import nn

from benchmarks.studies import (
    ablations,
    cells,
    digits,
    digits_cells,
    eight_modes,
    fashion_mnist,
    few_examples,
    out_of_distribution,
    unconditional_source,
)
from benchmarks.studies.ensemble import Job, Member, fit_prior
from benchmarks.studies.image_cells import judge_samples
from benchmarks.studies.judge_weights import judge_of
from benchmarks.studies.peers import PARTS
from benchmarks.studies.report.judges import needs_judge
from benchmarks.studies.settings import Setting
from benchmarks.studies.store import RESULTS, Cell, Store, surroundings, use_threads, write_json
from flowprior.couplings import Coupling
from flowprior.data import Data, TensorData, load_data
from flowprior.features.base import FEATURES
from flowprior.flow import Flow
from flowprior.paths import Path as ProbabilityPath
from flowprior.training.batches import PairStream
from flowprior.training.components import Components, resolve_components, resolve_config
from flowprior.training.measures import measure_starts
from flowprior.training.randomness import Randomness
from flowprior.training.trainer import fit_prior as fit_as_in_training

TOLERANCE = 1e-3
"""Largest relative difference to what the cell says of its prior."""
SETTING = ("prior", "coupling", "path", "prediction", "sampler", "peer")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Row(NamedTuple):
    """What is added to a cell.

    Attributes:
        rows: name of the cell's list of rows -> the row at NFE 0.
        said: what the cell says of its prior; None where it says nothing.
        found: the same, measured now.
    """

    rows: dict[str, dict[str, Any]]
    said: float | None = None
    found: float | None = None

    @property
    def apart(self) -> float:
        """Relative difference of what was said and what was found; 0 where nothing was said."""
        if self.said is None or self.found is None:
            return 0.0
        return abs(self.found - self.said) / max(abs(self.said), 1e-12)


def add_rows(folder: Path, make: Callable[[Path, Cell], Row | None], identities: list[str] | None) -> None:
    """Give every cell below ``folder`` its row at NFE 0, where it has none and ``make`` makes one.

    Args:
        folder: the experiment's.
        make: a cell's file and the cell -> the row; None leaves the cell alone.
        identities: the judge's; cells that no judge has seen need none.
    """
    for path in sorted(folder.glob("*.json")):
        cell = json.loads(path.read_text(encoding="utf-8"))
        if any(row.get("nfe") == 0 for row in cell.get("rows", [])):
            continue
        if needs_judge(cell) and cell.get("features") != identities:
            typer.echo(f"{path.name}: another judge, no row")
            continue
        row = make(path, cell)
        if row is None:
            continue
        if row.apart > TOLERANCE:
            typer.echo(f"{path.name}: the prior differs by {row.apart:.1e}, no row")
            continue
        write_json(path, with_row(cell, row))
        typer.echo(f"{path.name}: added, {row.apart:.1e} apart")


def with_row(cell: Cell, row: Row) -> Cell:
    """The cell with its row first, and with who added it."""
    changed = {name: [{"nfe": 0, **found}, *cell[name]] for name, found in row.rows.items()}
    if "nfes" in cell:
        changed["nfes"] = [0, *cell["nfes"]]
    added = {"commit": surroundings()["commit"], "prior_said": row.said, "prior_found": row.found}
    return {**cell, **changed, "added": {**cell.get("added", {}), "nfe 0": added}}


# -- runs of flowprior.train --------------------------------------------------------------------------------


class FittedRun:
    """The parts of a run and its flow before the first step.

    Args:
        cell: names prior, coupling and path.
        data: what the run was trained on.
        budget: the training's, for how many pairs are drawn at once.
    """

    def __init__(self, cell: Cell, data: Data, budget: dict[str, Any]) -> None:
        self.setting = Setting(**{name: cell[name] for name in SETTING})
        names = PARTS if self.setting.peer else {key: cell[key] for key in PARTS}
        given = {"data": data, **names}
        options = {key: value for key, value in budget.items() if key != "model"}
        options |= {"seed": cell["seed"], "prediction": self.setting.prediction}
        config = resolve_config(None, options, **given, model="mlp:width=1,depth=1")
        self.parts: Components = resolve_components(config, **given)
        self.randomness = Randomness(cell["seed"], self.parts.device)
        fit_as_in_training(self.parts, self.randomness)
        parts = self.parts
        self.flow = Flow(nn.Identity(), parts.prior, parts.coupling, parts.path, data.condition)

    def transport_cost(self) -> float:
        """As the run measured it before its first step."""
        parts = self.parts
        size = parts.config.training.batch_size
        pairs = PairStream(parts.data, parts.prior, parts.coupling, size, self.randomness)
        return measure_starts(pairs)["transport_cost"]


def add_to_all_pictures() -> None:
    """The cells of ``fashion_mnist`` at every number of steps.

    Those below ``fashion-mnist`` alone are older: the weights of their judge were not kept.
    """
    data, _ = fashion_mnist.make_parts(fashion_mnist.DATA)
    identities = [judge_of(data).identity(), FEATURES.create("lite0").identity()]
    folders = sorted(RESULTS.glob(f"{fashion_mnist.DATA}-*"))

    def make(path: Path, cell: Cell) -> Row:
        cost = cell["run"]["transport_cost"]
        twin = twin_of(cell, folders)
        if twin is not None:
            rows = {name: {**twin[name][0]} for name in ("rows", "validation")}
            return Row(rows, cost, twin["run"]["transport_cost"] if cell["prior"] != "gaussian" else cost)
        run = FittedRun(cell, data, fashion_mnist.BUDGET)
        labels = torch.arange(cell["samples"]) % data.condition.size
        judge = fashion_mnist.make_judge(fashion_mnist.DATA, 2000)
        rows = judge_samples(run.flow, run.setting, run.setting.sampler, 0, labels, cell["seed"], judge)
        found = None if cost is None else run.transport_cost()
        return Row({"rows": rows["test"], "validation": rows["validation"]}, cost, found)

    for folder in folders:
        add_rows(folder, make, identities)


def twin_of(cell: Cell, folders: list[Path]) -> Cell | None:
    """A cell of the same source samples that has its row at NFE 0 already.

    Source samples do not depend on steps and prediction; those of N(0, I) on no coupling and no peer either.
    """
    same = ("prior", "seed", "samples", "features", *(() if cell["prior"] == "gaussian" else ("coupling",)))
    for path in (path for folder in folders for path in sorted(folder.glob("*.json"))):
        other = json.loads(path.read_text(encoding="utf-8"))
        if all(other[name] == cell[name] for name in same) and other["rows"][0]["nfe"] == 0:
            return other
    return None


def add_to_digits() -> None:
    """The cells of ``digits_cells``."""
    data, judge = load_data("digits"), digits.judge()

    def make(path: Path, cell: Cell) -> Row:
        run = FittedRun(cell, data, digits_cells.BUDGET)
        return Row({"rows": digits_cells.measure(run.flow, cell["seed"], judge, (0,))[0]})

    add_rows(digits_cells.STORE.folder, make, judge.identities)


# -- members of an ensemble ---------------------------------------------------------------------------------


def untrained(member: Member, seed: int) -> Flow:
    """The flow of a member before its first step."""
    setting = member.setting
    prior = member.fitted or fit_prior(setting.prior, member.data, seed)
    coupling = Coupling.registry.resolve(setting.coupling)
    return Flow(nn.Identity(), prior, coupling, ProbabilityPath.create(setting.path), member.data.condition)


def add_to_jobs(
    store: Store, jobs: Callable[[int], list[Job]], measure: Callable[[Flow, Job, Cell], Row]
) -> None:
    """The cells of an experiment whose members were trained side by side, judged by the digits' judge."""
    planned: dict[int, dict[Path, Job]] = {}

    def make(path: Path, cell: Cell) -> Row | None:
        seed = cell["seed"]
        if seed not in planned:
            planned[seed] = {store.path(job.key): job for job in jobs(seed)}
        job = planned[seed].get(path)
        return None if job is None else measure(untrained(job.member, seed), job, cell)

    add_rows(store.folder, make, digits.judge().identities)


def plain(flow: Flow, job: Job, cell: Cell) -> Row:
    """The digits' metrics of the source samples."""
    return Row({"rows": digits.measure(flow, cell["seed"], nfes=(0,))[0]})


def with_density(flow: Flow, job: Job, cell: Cell) -> Row:
    """The same, and whether the prior's log-density of the test split comes back."""
    data = job.member.data
    assert isinstance(data, TensorData)
    found = few_examples.describe_prior(flow.prior, data)["log_density"]
    return plain(flow, job, cell)._replace(said=cell["prior_figures"]["log_density"], found=found)


def any_part(flow: Flow, job: Job, cell: Cell) -> Row:
    """A part of ``out_of_distribution``, measured as it is."""
    if cell["part"] == "corrupted":
        return plain(flow, job, cell)
    reference = out_of_distribution.reference_of_pair(cell["variant"])
    return Row({"rows": out_of_distribution.judge_pair(flow, reference, cell["seed"], (0,))["rows"][0]})


def strange_jobs(seed: int) -> list[Job]:
    """The parts of ``out_of_distribution`` that are tables against NFE."""
    return [*out_of_distribution.corrupted_jobs(seed), *out_of_distribution.coinciding_jobs(seed)]


def unconditional_jobs(seed: int) -> list[Job]:
    """Both kinds: networks with labels and without."""
    return [job for labelled in (False, True) for job in unconditional_source.jobs(seed, labelled)]


def add_to_eight_modes() -> None:
    """The paper's toy; its distances need no judge."""

    def make(path: Path, cell: Cell) -> Row:
        seed = cell["seed"]
        data = load_data(f"eight-modes:n=20000,seed={seed},radius={eight_modes.RADIUS}")
        run = FittedRun(cell, data, eight_modes.BUDGET)
        found = eight_modes.coupled_cost(run.flow, data, seed)
        row = eight_modes.row_of_the_prior(run.flow, seed)
        return Row({"rows": row}, cell["transport_cost"], found)

    add_rows(eight_modes.STORE.folder, make, None)


def already(name: str) -> Callable[[Path, Cell], Row | None]:
    """Cells that hold the row already, under ``name``."""
    return lambda path, cell: Row({"rows": cell[name]}) if name in cell else None


EXPERIMENTS: dict[str, Callable[[], None]] = {
    "digits": add_to_digits,
    "ablations": lambda: add_rows(ablations.STORE.folder, already("prior_alone"), digits.judge().identities),
    "few-examples": lambda: add_to_jobs(few_examples.STORE, few_examples.jobs, with_density),
    "unconditional-source": lambda: add_to_jobs(unconditional_source.STORE, unconditional_jobs, plain),
    "out-of-distribution": lambda: add_to_jobs(out_of_distribution.STORE, strange_jobs, any_part),
    "eight-modes": add_to_eight_modes,
    "cells": lambda: add_rows(cells.STORE.folder, already("starts"), None),
    "fashion-mnist": add_to_all_pictures,
}


@app.command()
def main(
    only: str = typer.Option("", help="one of: " + ", ".join(EXPERIMENTS)),
    threads: int = typer.Option(1, help="torch threads; 0 leaves them alone"),
) -> None:
    """Add what is missing."""
    use_threads(threads)
    if only and only not in EXPERIMENTS:
        raise typer.BadParameter(f"unknown experiment {only!r}; known: {', '.join(EXPERIMENTS)}")
    for name, add in EXPERIMENTS.items():
        if only in ("", name):
            add()


if __name__ == "__main__":
    app()
