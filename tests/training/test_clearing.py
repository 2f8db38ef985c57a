"""A run is replaced on request: all that it wrote goes, and nothing that somebody else put there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flowprior.errors import CheckpointError, OptionError
from flowprior.flow import Flow
from flowprior.storage import FolderLock
from flowprior.training import RunConfig, RunDirectory, read_metrics, train
from flowprior.training.clearing import clear_run

SMALL: dict[str, Any] = {
    "data": "eight-modes:n=200",
    "prior": "gaussian",
    "coupling": "condot",
    "model": "mlp:width=8,depth=1",
    "batch_size": 16,
    "warmup": 1,
    "sample_every": 2,
    "device": "cpu",
}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    train(**SMALL, steps=4, checkpoint_every=2, out=tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def test_another_run_takes_the_place_of_one(run: RunDirectory) -> None:
    train(**{**SMALL, "prior": "gmm"}, steps=2, out=run.path, overwrite=True)
    assert run.read_config().prior == "gmm"
    assert [line["step"] for line in read_metrics(run.metrics) if line["kind"] == "train"] == [2]
    assert [path.name for path in run.samples.iterdir()] == ["step-000002.png"]
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-000002"]
    info = json.loads(run.info.read_text())
    assert (info["status"], info["step"], info["resumed"]) == ("finished", 2, [])
    assert Flow.load(run.path).prior.name == "gmm"


def test_where_there_is_no_run_one_is_trained(tmp_path: Path) -> None:
    train(**SMALL, steps=2, out=tmp_path / "new", overwrite=True)
    assert (tmp_path / "new" / "flow" / "flow.json").is_file()


def test_what_somebody_else_put_there_stays(run: RunDirectory) -> None:
    kept = [run.path / "notes.txt", run.samples / "best.png", run.checkpoints / "mine" / "weights.pt"]
    for path in kept:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    clear_run(run)
    left = sorted(path for path in run.path.rglob("*") if path.is_file())
    assert left == sorted(kept)


def test_all_of_a_run_goes(run: RunDirectory) -> None:
    clear_run(run)
    assert list(run.path.iterdir()) == []


def test_a_flow_beside_which_something_else_lies_is_not_replaced(run: RunDirectory) -> None:
    (run.flow / "mine.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="cannot be replaced"):
        clear_run(run)
    assert run.config.is_file(), "it still counts as a run"


def test_a_configuration_that_no_run_wrote_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('prior = "gmm"\n')
    with pytest.raises(OptionError, match="was written by no run"):
        train(**SMALL, steps=2, out=tmp_path, overwrite=True)
    assert (tmp_path / "config.toml").is_file()


def test_an_impossible_option_leaves_the_old_run(run: RunDirectory) -> None:
    with pytest.raises(ValueError, match="unknown prior"):
        train(**{**SMALL, "prior": "gmn"}, out=run.path, overwrite=True)
    with FolderLock(run.path), pytest.raises(OptionError, match="by another process"):
        train(**SMALL, out=run.path, overwrite=True)
    run.check(RunConfig(), resume=False, overwrite=True)
    assert Flow.load(run.path).prior.name == "gaussian"
    assert len(read_metrics(run.metrics)) > 0


def test_to_go_on_and_to_replace_exclude_each_other(run: RunDirectory) -> None:
    with pytest.raises(OptionError, match="choose one of them"):
        train(**SMALL, out=run.path, overwrite=True, resume=True)
