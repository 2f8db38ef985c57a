"""Restorations that need no flow, in a study of small images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.studies import STUDIES, restoration
from flowprior.study.grid import load_grid
from flowprior.study.running import run_grid
from flowprior.study.table import read_table
from tests.markdown_blocks import REPOSITORY

SHORT = [
    "training.steps=3",
    "training.warmup=1",
    "samples=200",
    "validation=200",
    "splits=['test']",
    "samplers=['euler']",
    "seeds=[0]",
    "nfe=[0, 1]",
    "model=mlp:width=8,depth=1",
    "evaluation.features=[]",
    "evaluation.classifier=none",
    "evaluation.metrics=['crps', 'psnr']",
]


def test_the_mean_of_the_prior_and_the_regression_are_scored_as_flows_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    path, labels = STUDIES / "restoration.toml", (restoration.BASE, restoration.DESIGNED)
    own = {label: load_grid(path).variants[label] for label in labels}
    quick = own[restoration.DESIGNED].prior.replace("steps=500", "steps=5,epochs=1,mapper=mlp,hidden=16")
    own[restoration.DESIGNED] = replace(own[restoration.DESIGNED], prior=quick)
    outcome = run_grid(
        load_grid(path, {"variants": own, "data": "restoration:of=digits,factor=2"}, SHORT), tmp_path
    )
    assert (outcome.failed, outcome.finished) == ({}, 2)
    table = read_table(tmp_path)
    scores = table[table["metric"] == "crps"].set_index("flow")["value"]
    plain = [restoration.MEAN, restoration.REGRESSION]
    assert (scores[plain] < scores[restoration.BASE].min()).all(), "better than N(0, I)"
    rows = table[table["flow"].isin(plain)]
    assert rows["nfe"].isna().all()
    assert set(rows["metric"]) == {"crps", "psnr", "psnr_of_mean"}
    spent = table.groupby("flow")["cpu_seconds"].max()
    assert spent[restoration.REGRESSION] != spent[restoration.BASE], "of its own fit"
