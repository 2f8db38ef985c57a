"""The sections say what the numbers say: who is best, what contradicts the literature, what has not run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies.report import formatting
from benchmarks.studies.report.ablations import ablations
from benchmarks.studies.report.blood_cells import blood_cells
from benchmarks.studies.report.few_examples import few_examples
from benchmarks.studies.report.out_of_distribution import out_of_distribution
from benchmarks.studies.report.overhead import overhead
from benchmarks.studies.report.unconditional_source import unconditional_source

SECTIONS = (ablations, few_examples, out_of_distribution, unconditional_source, blood_cells, overhead)
MADE = {
    "model": "mlp",
    "steps": 5,
    "batch_size": 8,
    "lr": 0.005,
    "train_seconds": 1.0,
    "seconds": 2.0,
    "threads": 1,
    "processor": "a processor",
    "torch": "2",
}
Keep = Callable[[str, list[dict[str, Any]]], None]


@pytest.fixture
def keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keep:
    monkeypatch.setattr(formatting, "RESULTS", tmp_path)

    def write(experiment: str, cells: list[dict[str, Any]]) -> None:
        (tmp_path / experiment).mkdir()
        for number, cell in enumerate(cells):
            (tmp_path / experiment / f"{number:03}.json").write_text(json.dumps({**MADE, **cell}))

    return write


def rows(figure: float, nfes: tuple[int, ...] = (1, 4, 15)) -> list[dict[str, float]]:
    return [{"nfe": nfe, "fid-cnn128": figure} for nfe in nfes]


@pytest.mark.parametrize("section", SECTIONS)
def test_nothing_that_has_not_run_is_shown(section: Callable[[], str], keep: Keep) -> None:
    assert section() == ""


@pytest.mark.parametrize(
    ("fitted", "said"), [(12.0, "as SourceFM reports"), (3.0, "which contradicts SourceFM")]
)
def test_the_verdict_on_fitted_sources_follows_the_figures(fitted: float, said: str, keep: Keep) -> None:
    cells = [
        {"setting": name, "kind": "unlabelled", "seed": seed, "rows": rows(figure), "floor": rows(1.0)[0]}
        for name, figure in (("gaussian", 4.0), ("gmm2", fitted), ("gmm10+ot", 1.0))
        for seed in (0, 1, 2)
    ]
    keep("unconditional-source", cells)
    text = unconditional_source()
    assert said in text
    assert f"`gmm2` {fitted / 4:.2f}" in text
    assert "`gmm10+ot` 0.25" not in text


def test_priors_worse_than_the_gaussian_are_named(keep: Keep) -> None:
    figures = {"gaussian": 5.0, "latent-gmm:rank=8": 9.0, "learned-mean:sigma=0.7": 2.0}
    keep(
        "ablations",
        [
            {
                "prior": prior,
                "coupling": "condot",
                "seed": 0,
                "rows": rows(figure),
                "prior_alone": rows(1.0)[0],
                "floor": rows(1.0)[0],
            }
            for prior, figure in figures.items()
        ],
    )
    text = ablations()
    assert "against the paper's claim: latent-gmm at NFE 1, latent-gmm at NFE 4" in text
    assert "σ = 0.7, the authors' value, is at 1.00 times the best at NFE 4" in text
    assert "| 2.0 | – |" in text


def distances(value: float) -> dict[str, float]:
    return dict.fromkeys(("raw", "debiased", "energy", "sliced"), value)


def test_the_cells_setting_is_chosen_on_the_choice_alone(keep: Keep) -> None:
    values = {"gaussian+condot": (10.0, 10.0), "gmm+ot": (3.0, 5.0), "full+ot": (4.0, 1.0)}
    keep(
        "cells",
        [
            {
                "kind": kind,
                "setting": name,
                "seed": seed,
                "rows": [{"nfe": n, **distances(value)} for n in (1, 2, 4, 15)],
                "floor": distances(50.0),
                "collapsed": distances(40.0),
                "types": ["B", "T"],
                "held_out_of_each": [3, 4],
                "training_cells": 7,
                "held_out_cells": 7,
                "draws": 4,
            }
            for name, both in values.items()
            for kind, value in zip(("choice", "result"), both, strict=True)
            for seed in (0, 1)
        ],
    )
    text = blood_cells()
    assert "| raw W2² | `gmm+ot` | 0.50 | 2 of 2 | yes |" in text
    assert "rewards the collapse to the mean" in text


def test_growth_is_read_off_the_finished_sizes(keep: Keep) -> None:
    costs = ("fit_seconds", "fit_peak_bytes", "state_bytes", "sample_seconds", "log_prob_seconds")
    sizes = {10: 1.0, 100: 100.0, 1000: None}
    keep(
        "overhead",
        [
            {"prior": "gmm", "axis": "conditions", "conditions": size, "limit": 30}
            | ({"failed": "not done after 30 s"} if cost is None else dict.fromkeys(costs, cost))
            for size, cost in sizes.items()
        ],
    )
    text = overhead()
    assert "|  | growth p | 2.00 [2.00] |" in text
    assert "| gmm | 1,000 | not done after 30 s |" in text
