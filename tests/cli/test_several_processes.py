"""Processes that sample and evaluate together give what one gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import call_app

OWN_VALUES = ("seconds",)
"""Values that say how long something took."""


def trained(out: Path, *options: str) -> Path:
    small = ["--set", "training.batch_size=32", "--set", "training.sample_every=0", "--steps", "20"]
    usual = ["--data", "digits", "--coupling", "condot", "--model", "mlp:width=16,depth=1"]
    answer = call_app("train", *usual, *small, *options, "--out", str(out))
    assert answer.code == 0, answer.err
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("processes") / "run", "--prior", "gmm:reg_covar=0.01")


@pytest.fixture(scope="module")
def noise_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a flow that a sampler may be asked for that draws noise on the way."""
    options = ["--prior", "gaussian", "--path", "vp", "--set", "training.prediction=epsilon"]
    return trained(tmp_path_factory.mktemp("noise") / "run", *options)


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
def test_samples(sampler: str, run: Path, noise_run: Path, tmp_path: Path) -> None:
    """The same for the same seed, of a sampler that draws noise on the way and of an adaptive one, too."""
    nfe = [] if sampler == "dopri5" else ["--nfe", "4"]
    asked = [
        "sample",
        str(noise_run if sampler == "ancestral" else run),
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
    alone = call_app(*asked, "--out", str(tmp_path / "alone.npz"))
    assert alone.code == 0, alone.err
    with np.load(tmp_path / "together.npz") as mine, np.load(tmp_path / "alone.npz") as theirs:
        np.testing.assert_allclose(mine["x"], theirs["x"], atol=1e-5)
        assert (mine["cond"] == theirs["cond"]).all()


@pytest.mark.slow
def test_values(run: Path, tmp_path: Path) -> None:
    """Of four processes, with every metric."""
    asked = [
        "evaluate",
        str(run),
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
    alone = call_app(*asked, "--device", "cpu", "--out", str(files[1]))
    assert alone.code == 0, alone.err
    together, one = (json.loads(file.read_text(encoding="utf-8"))["rows"] for file in files)
    assert len(together) == len(one) > 40
    for mine, theirs in zip(together, one, strict=True):
        assert {**mine, "value": 0} == {**theirs, "value": 0}
        if mine["metric"] not in OWN_VALUES:
            assert mine["value"] == pytest.approx(theirs["value"], rel=1e-4, abs=1e-6), mine


@pytest.mark.slow
def test_a_mistake_ends_all_of_them(run: Path, tmp_path: Path) -> None:
    done = launch(2, "evaluate", str(run), "--nfe", "3", "--samples", "20", "--sampler", "heun")
    assert done.returncode != 0
    assert done.stderr.count("flowprior: error: ") == 1
    assert "flowprior: process 1: error: " in done.stderr
