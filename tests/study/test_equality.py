"""``compare`` gives what ``evaluate`` gives of the same saved flow, to the last digit, whatever is trained.

The combinations come from the registries: every prediction × coupling × path, from priors enough to train
each of them that the library allows.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior import Flow, evaluate
from flowprior.couplings import Coupling
from flowprior.data import load_data
from flowprior.errors import FlowpriorError
from flowprior.flow.predictions import Prediction
from flowprior.paths import Path as ProbabilityPath
from flowprior.priors import Prior
from flowprior.report import write_report
from flowprior.study import StudyFolder, run_grid
from flowprior.study.folder import RunResult, read_study
from flowprior.study.grid import grid_from_dict
from flowprior.study.runs import StudyRun, variants
from flowprior.training import train

pytestmark = pytest.mark.slow

PREDICTIONS = Prediction.available()
DATA = "eight-modes:n=120"
SMALL = {"gmm": "gmm:components=2", "latent-gmm": "latent-gmm:rank=1,components=2"}
"""Options that make a prior quick to fit; the others have their defaults."""
FIRST = ("gaussian", "latent-gmm", "gmm")
"""Tried before the others, for they are the quickest."""
GRID: dict[str, Any] = {
    "data": DATA,
    "model": "mlp:width=8",
    "paths": sorted(ProbabilityPath.available()),
    "couplings": sorted({*Coupling.available()} - {"given"}),  # the data give no source samples
    "samplers": ["euler"],
    "seeds": [7],
    "nfe": [0, 1, 3],
    "samples": 24,
    "curve": {"points": 0},
    "evaluation": {"batch_size": 16, "metrics": ["quick", "sliced-w2", "truncation", "curvature"]},
}
SAMPLERS = ["euler", "bosh3"]
BUDGET = {"steps": 3, "batch_size": 16, "warmup": 1, "device": "cpu"}


def grid_of(prediction: str, prior: str, **changes: Any) -> Any:
    training = {**BUDGET, "prediction": prediction}
    return grid_from_dict({**GRID, "priors": [SMALL.get(prior, prior)], "training": training, **changes})


def chosen_priors(prediction: str) -> dict[tuple[str, str], str]:
    """(coupling, path) -> the first prior that the library allows with them."""
    found: dict[tuple[str, str], str] = {}
    for prior in [*FIRST, *sorted(set(Prior.available()) - set(FIRST))]:
        for variant in variants(grid_of(prediction, prior)):
            if variant.skipped is None:
                found.setdefault((variant.coupling, variant.path), prior)
    return found


def run_all(prediction: str, folder: Path) -> list[Path]:
    """One comparison for each prior and path, of the couplings that it is the first to serve."""
    found = []
    chosen = chosen_priors(prediction)
    for prior, path in dict.fromkeys((prior, path) for (_, path), prior in chosen.items()):
        couplings = [coupling for (coupling, own), first in chosen.items() if (own, first) == (path, prior)]
        out = folder / f"{prior}-{path}"
        outcome = run_grid(grid_of(prediction, prior, couplings=couplings, paths=[path]), out)
        assert (outcome.failed, outcome.interrupted) == ({}, False)
        write_report(out)
        found.append(out)
    return found


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> dict[str, list[Path]]:
    """prediction -> the comparisons of everything that can be trained on it."""
    return {name: run_all(name, tmp_path_factory.mktemp(name)) for name in PREDICTIONS}


def results(out: Path) -> list[tuple[StudyRun, Flow, RunResult]]:
    """Every run, its flow, and its result."""
    folder = StudyFolder(out)
    study = read_study(folder)
    return [
        (run, Flow.load(folder.run(*run.place).flow), study.results[run.variant.label][run.seed])
        for run in study.plan.runs()
    ]


def timeless(rows: list[Any]) -> list[dict[str, Any]]:
    """Rows whatever their flow is called, without seconds."""
    found = [row for row in rows if row["metric"] != "seconds"]
    return [{name: value for name, value in row.items() if name not in ("flow", "step")} for row in found]


def quality(rows: list[Any], sampler: str) -> list[dict[str, Any]]:
    return [row for row in timeless(rows) if row["sampler"] == sampler]


def evaluated(run: StudyRun, flow: Flow, **changes: Any) -> list[dict[str, Any]]:
    """The rows that ``evaluate`` gives of a saved flow that is asked the same."""
    grid = run.grid
    asked: dict[str, Any] = {"nfe": grid.nfe, "samples": grid.samples, "guidance": grid.guidance}
    options = {**asked, "seed": run.seed, **grid.evaluation, **changes}
    found = evaluate(flow, load_data(DATA, "train"), reference=load_data(DATA, "test"), **options)
    return json.loads(json.dumps(found.rows))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_compare_is_evaluate_to_the_last_digit(compared, prediction):
    seen = set()
    for out in compared[prediction]:
        for run, flow, result in results(out):
            assert flow.prediction == result.setting["prediction"] == prediction
            found = timeless(evaluated(run, flow, sampler="euler"))
            assert len(found) > 10
            assert timeless(result.rows) == found
            seen.add((flow.coupling.name, flow.path.name))
    assert seen >= set(chosen_priors(prediction))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_what_is_not_compared_is_what_the_library_refuses(prediction, tmp_path):
    every = set(product(GRID["couplings"], GRID["paths"]))
    for coupling, path in every - set(chosen_priors(prediction)):
        for prior in FIRST:
            parts = {"prior": SMALL.get(prior, prior), "coupling": coupling, "path": path}
            with pytest.raises(FlowpriorError):
                train(DATA, model="mlp:width=8", prediction=prediction, **parts, **BUDGET)


def test_guidance_and_adaptive_samplers_are_those_of_evaluate(tmp_path, cache):
    training = {**BUDGET, "condition_dropout": 0.2}
    grid = grid_from_dict(
        {**GRID, "priors": ["gaussian"], "couplings": ["condot"], "paths": ["condot"], "samplers": SAMPLERS}
        | {"training": training, "guidance": 2.0}
    )
    run_grid(grid, tmp_path)
    ((run, flow, result),) = results(tmp_path)
    assert run.variant.specs == SAMPLERS
    for sampler in SAMPLERS:
        found = quality(evaluated(run, flow, sampler=sampler), sampler)
        assert found == quality(result.rows, sampler)
        assert len(found) > 5
    found = quality(evaluated(run, flow, sampler="euler"), "euler")
    plain = quality(evaluated(run, flow, sampler="euler", guidance=1.0), "euler")
    assert [row["value"] for row in plain if not row["nfe"]] == [r["value"] for r in found if not r["nfe"]]
    assert [row["value"] for row in plain] != [row["value"] for row in found]
    assert torch.get_num_threads() == 1
