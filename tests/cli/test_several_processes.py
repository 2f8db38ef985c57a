"""Processes that sample and evaluate together give what one gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import succeed

RUNS = {
    "gmm": ["--prior", "gmm:reg_covar=0.01"],
    "noise": ["--prior", "gaussian", "--path", "vp", "--prediction", "epsilon"],
}
"""A prior that reads the labels, and a flow that a sampler may be asked for that draws noise on the way."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("processes")
    small = ["--set", "training.batch_size=32", "--set", "training.sample_every=0", "--steps", "20"]
    parts = ["--data", "digits", "--coupling", "condot", "--model", "mlp:width=16,depth=1"]
    for name, options in RUNS.items():
        succeed("train", *parts, *small, *options, "--out", out / name)
    return out


def launch(processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [sys.executable, *launcher, "-m", "flowprior", *arguments, "--device", "cpu"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["euler", "ancestral", "dopri5"])
def test_samples(sampler: str, runs: Path, tmp_path: Path) -> None:
    """The same for the same seed, of a sampler that draws noise on the way and of an adaptive one, too."""
    nfe = [] if sampler == "dopri5" else ["--nfe", "4"]
    asked = [
        "sample",
        str(runs / ("noise" if sampler == "ancestral" else "gmm")),
        "--sampler",
        sampler,
        *nfe,
        "--cond",
        "0,3,7",
        "--count",
        "5",
    ]
    done = launch(2, *asked, "--out", str(tmp_path / "together.npz"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("15 samples") == 1
    succeed(*asked, "--out", tmp_path / "alone.npz")
    with np.load(tmp_path / "together.npz") as mine, np.load(tmp_path / "alone.npz") as theirs:
        np.testing.assert_allclose(mine["x"], theirs["x"], atol=1e-5)
        assert (mine["cond"] == theirs["cond"]).all()


@pytest.mark.slow
def test_values(runs: Path, tmp_path: Path) -> None:
    """Of four processes, with every metric."""
    asked = [
        "evaluate",
        str(runs / "gmm"),
        "--nfe",
        "0,2",
        "--samples",
        "70",
        "--metrics",
        "all",
        "--features",
        "lite0",
    ]
    files = [tmp_path / "together.json", tmp_path / "alone.json"]
    done = launch(4, *asked, "--out", str(files[0]))
    assert done.returncode == 0, done.stderr
    succeed(*asked, "--device", "cpu", "--out", files[1])
    together, one = (json.loads(file.read_text(encoding="utf-8"))["rows"] for file in files)
    assert len(together) == len(one) > 40
    for mine, theirs in zip(together, one, strict=True):
        assert {**mine, "value": 0} == {**theirs, "value": 0}
        if mine["metric"] != "seconds":
            assert mine["value"] == pytest.approx(theirs["value"], rel=1e-4, abs=1e-6), mine


@pytest.mark.slow
def test_a_mistake_ends_all_of_them(runs: Path, tmp_path: Path) -> None:
    done = launch(2, "evaluate", str(runs / "gmm"), "--nfe", "3", "--samples", "20", "--sampler", "heun")
    assert done.returncode != 0
    assert done.stderr.count("flowprior: error: ") == 1
    assert "flowprior: process 1: error: " in done.stderr
