"""One cell of the class-conditional experiment: train a setting, judge it at every number of evaluations."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.studies.judge import Judge
from benchmarks.studies.peers import solve
from benchmarks.studies.sampling import draw_samples
from benchmarks.studies.settings import Setting
from benchmarks.studies.store import Cell
from flowprior.data import Data
from flowprior.errors import OptionError
from flowprior.flow import Flow
from flowprior.samplers import Sampler
from flowprior.training import list_checkpoints

NFES = (0, 1, 2, 4, 8, 15, 30)
CURVE_NFES = (4, 15)
BATCH = 250
ODE_SAMPLERS = ("euler:grid=cosine", "midpoint", "heun", "heun3", "rk4", "explicit_adams")
DIFFUSION_SAMPLERS = (
    "euler",
    "heun",
    "ddim",
    "ddim:clip=1.0",
    "ancestral:clip=1.0",
    "ancestral:variance=forward,clip=1.0",
)
INFO = ("transport_cost", "starts_gap", "prior_fit_seconds", "commit")


@dataclass(frozen=True)
class Plan:
    """What a cell is trained and measured with.

    Attributes:
        data: training part.
        judge: of the samples.
        steps: optimiser steps.
        samples: generated at each number of evaluations.
        snapshots: averaged weights of this many equally spaced steps are judged for the curve; 0 for none.
        curve_samples: generated for each point of the curve.
        budget: everything else of the training.
    """

    data: Data
    judge: Judge
    steps: int
    samples: int
    snapshots: int
    curve_samples: int
    budget: dict[str, Any]

    @property
    def snapshot_every(self) -> int:
        """Steps between two snapshots; all of them where there are none on the way."""
        return self.steps // self.snapshots if self.snapshots else self.steps


def run_cell(setting: Setting, seed: int, plan: Plan, out: Path, with_samplers: bool) -> Cell:
    """Train (or go on training) in ``out`` and judge; of the checkpoints only the last one stays."""
    start = time.perf_counter()
    flow = setting.train(
        plan.data,
        seed=seed,
        out=out,
        steps=plan.steps,
        checkpoint_every=plan.snapshot_every,
        keep_checkpoints=plan.snapshots + 1,
        **plan.budget,
    )
    trained = time.perf_counter()
    info = json.loads((out / "info.json").read_text(encoding="utf-8"))
    judge = plan.judge
    labels = torch.arange(plan.samples) % plan.data.condition.size
    rows = [judge_samples(flow, setting, setting.sampler, nfe, labels, seed, judge) for nfe in NFES]
    cell = {
        **setting.as_dict(),
        **plan.budget,
        "parameters": sum(p.numel() for p in flow.model.parameters()),  # type: ignore[union-attr]
        "training_examples": len(plan.data),
        "reference": f"{judge.sizes['test']} test examples",
        "validation_reference": f"{judge.sizes['validation']} validation examples",
        "features": judge.identities,
        "floor": judge.floor["test"],
        "validation_floor": judge.floor["validation"],
        "rows": _against(rows, "test"),
        "validation": _against(rows, "validation"),
        "curve": judge_curve(out, setting, plan, seed, judge),
        "samplers": judge_samplers(flow, setting, labels, seed, judge) if with_samplers else [],
        "train_seconds": trained - start,
        "judge_seconds": time.perf_counter() - trained,
        "run": {key: info.get(key) for key in INFO},
    }
    for _, checkpoint in list_checkpoints(out / "checkpoints")[:-1]:
        shutil.rmtree(checkpoint)
    return cell


def generate(flow: Flow, setting: Setting, sampler: str, nfe: int, labels: Tensor, seed: int) -> Tensor:
    """Samples ``[N, *event]`` from the same starts at every ``nfe``; flow_matching's by its own solver."""
    generator = torch.Generator().manual_seed(1000 + seed)
    if setting.peer != "flow_matching" or sampler != "euler" or nfe == 0:
        options = {"sampler": sampler, "batch_size": BATCH}
        return draw_samples(flow, labels, nfe, generator=generator, **options)
    x0 = flow.coupling.source(flow.prior, labels, generator=generator)
    with torch.no_grad():
        parts = zip(x0.split(BATCH), labels.split(BATCH), strict=True)
        return torch.cat([solve(flow, x, c, nfe) for x, c in parts])


def judge_samples(
    flow: Flow, setting: Setting, sampler: str, nfe: int, labels: Tensor, seed: int, judge: Judge
) -> dict[str, Any]:
    """reference -> one row of figures."""
    x = generate(flow, setting, sampler, nfe, labels, seed)
    return {name: {"nfe": nfe, **figures} for name, figures in judge.figures(x, labels).items()}


def judge_curve(out: Path, setting: Setting, plan: Plan, seed: int, judge: Judge) -> list[dict[str, Any]]:
    """Figures against the test split at some steps of the training, from the averaged weights of then."""
    if not plan.snapshots:
        return []
    labels = torch.arange(plan.curve_samples) % plan.data.condition.size
    rows = []
    for step, checkpoint in list_checkpoints(out / "checkpoints"):
        if step % plan.snapshot_every:
            continue  # saved when the training was stopped
        flow = Flow.load(checkpoint)
        for nfe in CURVE_NFES:
            x = generate(flow, setting, setting.sampler, nfe, labels, seed)
            rows.append({"step": step, "nfe": nfe, **judge.figures(x, labels, kernel=False)["test"]})
    return rows


def judge_samplers(
    flow: Flow, setting: Setting, labels: Tensor, seed: int, judge: Judge
) -> list[dict[str, Any]]:
    """Other samplers at the same numbers of evaluations, where they can spend them exactly."""
    rows = []
    for sampler in DIFFUSION_SAMPLERS if setting.prediction == "epsilon" else ODE_SAMPLERS:
        for nfe in NFES[1:]:
            if can_spend(sampler, nfe):
                figures = judge_samples(flow, setting, sampler, nfe, labels, seed, judge)["test"]
                rows.append({"sampler": sampler, **figures})
    return rows


def can_spend(sampler: str, nfe: int) -> bool:
    """Whether ``sampler`` can spend exactly ``nfe`` evaluations."""
    solver = Sampler.registry.resolve(sampler)
    if not hasattr(solver, "steps"):
        return True
    try:
        solver.steps(nfe)
    except OptionError:
        return False
    return True


def _against(rows: list[dict[str, Any]], reference: str) -> list[dict[str, Any]]:
    return [row[reference] for row in rows]
