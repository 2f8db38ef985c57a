"""The studies are grids that can be run, and a new run gives what is stored, where no training decides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies import RESULTS, STUDIES
from flowprior.conditions import Condition
from flowprior.evaluation.result import COLUMNS, Result
from flowprior.study.cells import variants
from flowprior.study.grid import load_grid
from flowprior.study.running import run_grid
from flowprior.study.variants import HOOKS, load_hook
from tests.benchmarks.studies.conftest import cells_of
from tests.markdown_blocks import REPOSITORY

GRIDS = sorted(path.name for path in STUDIES.glob("*.toml"))
SHORT = ["training.steps=2", "training.warmup=1"]


LABELS = Condition("labels", 10)
"""Of most studies' data; what prior and coupling can serve under these they can serve under the others'."""


def stored(name: str) -> Result:
    cell = json.loads((RESULTS / f"{name}.json").read_text())
    return Result([dict.fromkeys(COLUMNS) | row for row in cell["rows"]])


@pytest.mark.parametrize("name", GRIDS)
def test_a_study_is_a_grid_whose_functions_are_there(name: str) -> None:
    grid = load_grid(STUDIES / name)
    found = variants(grid)
    assert found
    assert all(variant.refusal(grid.training, LABELS) is None for variant in found)
    named = [(key, getattr(grid, key)) for key in HOOKS] + [("trainer", v.trainer) for v in found]
    assert all(callable(load_hook(key, text)) for key, text in named if text)


@pytest.mark.parametrize(
    ("study", "overrides", "cells"),
    [
        ("few_examples", [], {"gmm+ot": "few-examples/gmm+ot-5-seed0"}),
        pytest.param(
            "unconditional_source",
            ["seeds=[0]"],
            {"gmm2": "unconditional-source/gmm2-unlabelled-seed0"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "unconditional_source",
            [
                "seeds=[0]",
                "data=digits-without-labels-for-the-prior",
                "conditions=balanced",
                "evaluation.metrics=['fid', 'accuracy', 'w2']",
            ],
            {"gmm10": "unconditional-source/gmm10-labelled-seed0"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "coinciding",
            ["seeds=[0]"],
            {"gmm+ot": "out-of-distribution/coinciding-moved-gmm+ot-seed0"},
            marks=pytest.mark.slow,
        ),
        (
            "corrupted",
            ["seeds=[0]", "data=digits-with-a-corrupted-prior:kind=blur"],
            {"lowrank8+ot": "out-of-distribution/corrupted-blur-lowrank8+ot-seed0"},
        ),
    ],
)
def test_the_prior_alone_is_as_stored(
    study: str, overrides: list[str], cells: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Source samples and their values hang on no training: the protocol is the one of the stored cells."""
    monkeypatch.chdir(REPOSITORY)
    outcome = run_grid(load_grid(STUDIES / f"{study}.toml", {}, [*SHORT, "nfe=[0]", *overrides]), tmp_path)
    assert outcome.failed == {}
    for label, name in cells.items():
        for row in stored(name).select(flow=label, nfe=0):
            found = value_of(cells_of(tmp_path)[label], row)
            assert found == pytest.approx(row["value"], rel=1e-4), row["metric"]


def value_of(cell: Result, row: dict[str, Any]) -> float:
    """The one value of a cell that has the flow, metric and number of evaluations of ``row``."""
    (found,) = cell.select(**{name: row[name] for name in ("flow", "metric", "nfe")})
    return found["value"]
