"""Further values of a study's flows: each function gives the rows that the page reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.studies import STUDIES, toys
from flowprior.study.grid import load_grid
from flowprior.study.running import run_grid
from tests.benchmarks.studies.conftest import cells_of
from tests.markdown_blocks import REPOSITORY

SHORT = ["training.steps=3", "training.warmup=1", "samples=16", "nfe=[0, 1]", "model=mlp:width=8,depth=1"]


def test_the_eight_modes_have_distances_errors_and_curvature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("OF_EACH_MODE", 5), ("TRAJECTORIES", 2), ("NFES", (0, 2))):
        monkeypatch.setattr(toys, name, value)
    monkeypatch.chdir(REPOSITORY)
    every = load_grid(STUDIES / "eight_modes.toml").variants
    given = {"variants": {label: every[label] for label in ("designed+ot", "ddpm")}}
    given |= {"data": "eight-modes:n=2200,seed=0,radius=5.0"}
    outcome = run_grid(load_grid(STUDIES / "eight_modes.toml", given, SHORT), tmp_path)
    assert (outcome.failed, outcome.finished) == ({}, 2)
    ours, ddpm = (cells_of(tmp_path)[label] for label in ("designed+ot", "ddpm"))
    assert ours.value("w2_squared", 0) < ddpm.value("w2_squared", 0), "the priors alone"
    assert {row["sampler"] for row in ddpm.select(metric="travelled")} == {"ancestral"}
    assert ours.value("curvature") > 0
    assert ours.value("local_error", 2) > 0
    assert ours.value("w2_squared", flow="real data") > 0


def test_moons_start_from_eight_gaussians_whatever_the_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toys, "MOONS", 60)
    data = {"data": "8gaussians-to-moons:n=500,seed=0"}
    outcome = run_grid(load_grid(STUDIES / "moons.toml", data, SHORT), tmp_path)
    assert (outcome.failed, outcome.finished) == ({}, 3)
    rows = cells_of(tmp_path)["FM"].select(metric="w2_squared")
    assert [(row["sampler"], row["nfe"]) for row in rows] == [("euler", 1), ("dopri5", None)]
