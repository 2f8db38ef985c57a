"""Runs on shards and stored latents: a resumed run is the unbroken one, corrupt records are noted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from flowprior.storage.tensor_files import load_tensors
from tests.cli.conftest import call_app
from tests.data_records import picture, write_shards, write_tar
from tests.flow_folder import weights_of

EVENTS = 24
"""Events of a data set."""


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLOWPRIOR_CACHE", str(tmp_path / "cache"))


def shards(folder: Path) -> str:
    """Uneven shards, with one picture that cannot be decoded."""
    write_shards(folder, (11, 4, 8))
    bad = ("00023", {"png": picture(0)[:40], "cls": b"1"})
    write_tar(folder / "03.tar", [bad])
    return f"shards:path={folder},max_corrupt=1,test_fraction=0"


def latents(folder: Path) -> str:
    folder.mkdir()
    values = np.random.default_rng(0).standard_normal((EVENTS, 3, 2, 2)).astype(np.float16)
    np.save(folder / "latents.npy", values)
    np.save(folder / "labels.npy", np.arange(EVENTS) % 2)
    return f"latents:path={folder},test_fraction=0"


@pytest.mark.parametrize("make", [pytest.param(shards, marks=pytest.mark.slow), latents])
@pytest.mark.filterwarnings("ignore:.*records cannot be used:RuntimeWarning")
def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(make: Callable[[Path], str], tmp_path: Path) -> None:
    options = ["--data", make(tmp_path / "data"), "--prior", "gmm:components=1", "--coupling", "ot"]
    options += ["--model", "mlp:width=8,depth=1", "--steps", "6"]
    small = {"batch_size": 8, "device": "cpu", "sample_every": 0, "checkpoint_every": 3, "prefetch": 2}
    for name, value in {**small, "validation": 6}.items():
        options += ["--set", f"training.{name}={value}"]
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    answer = call_app("train", *options, "--out", str(whole))
    assert answer.code == 0, answer.err
    shutil.copytree(whole, resumed)
    shutil.rmtree(resumed / "flow")
    shutil.rmtree(resumed / "checkpoints" / "step-000006")
    answer = call_app("train", *options, "--out", str(resumed), "--resume")
    assert answer.code == 0, answer.err
    mine, theirs = (load_tensors(weights_of(run / "flow"))[0] for run in (resumed, whole))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_run_on_shards_notes_its_corrupt_records_in_its_card_and_is_evaluated(tmp_path: Path) -> None:
    options = ["--data", shards(tmp_path / "data"), "--prior", "gmm:components=1", "--steps", "2"]
    options += ["--model", "mlp:width=8,depth=1", "--set", "training.batch_size=8"]
    answer = call_app("train", *options, "--set", "training.device=cpu", "--out", str(tmp_path / "run"))
    assert answer.code == 0
    assert "1 of 24 records cannot be used, such as 03.tar: 00023" in " ".join(answer.err.split())
    text = (tmp_path / "run" / "flow" / "flow.json").read_text()
    assert '"corrupt_records"' in text
    asked = ["--nfe", "0,1", "--samples", "8", "--metrics", "w2"]
    evaluated = call_app("evaluate", str(tmp_path / "run"), *asked)
    assert evaluated.code == 0, evaluated.err
    assert "against 23 test examples of" in " ".join(evaluated.out.split())
    refused = call_app(
        "train", *options, "--data", f"shards:path={tmp_path / 'data'}", "--out", str(tmp_path / "other")
    )
    assert refused.code == 2
    assert "that is more than max_corrupt=0.001 allows (0)" in " ".join(refused.err.split())
