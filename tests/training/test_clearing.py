"""A run is replaced on request: all that it wrote goes, and nothing that somebody else put there."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior.errors import CheckpointError, FlowpriorError, OptionError
from flowprior.flow import Flow
from flowprior.registry import plugins
from flowprior.storage.lock import FolderLock
from flowprior.training import RunDirectory, read_metrics, train
from flowprior.training.run import clear_run

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


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(**SMALL, steps=4, checkpoint_every=2, out=folder)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> RunDirectory:
    """A copy of a run, for the test that replaces it."""
    return RunDirectory(Path(shutil.copytree(trained, tmp_path / "run")))


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
    assert Flow.load(run.path).prior.name == "gaussian", "nothing of it is removed"


def test_a_cache_of_latents_stays_where_its_extension_is_missing(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.latents.mkdir()
    every = plugins.points_of
    monkeypatch.setattr(plugins, "points_of", lambda group: [] if "latents" in group else every(group))
    train(**SMALL, steps=2, out=run.path, overwrite=True)
    assert run.latents.is_dir()
    assert Flow.load(run.path).metadata["step"] == 2


def test_an_impossible_option_leaves_the_old_run(run: RunDirectory) -> None:
    with pytest.raises(ValueError, match="unknown prior"):
        train(**{**SMALL, "prior": "gmn"}, out=run.path, overwrite=True)
    with FolderLock(run.path), pytest.raises(OptionError, match="by another process"):
        train(**SMALL, out=run.path, overwrite=True)
    run.check(resume=False, overwrite=True)
    assert Flow.load(run.path).prior.name == "gaussian"
    assert len(read_metrics(run.metrics)) > 0


@pytest.mark.parametrize(
    "refused",
    [
        {"accumulate": 7},
        {"data": torch.zeros(64, 2), "prior": "kernel-mean"},
        {"prior": "gmm", "path": "vp"},
    ],
    ids=["sizes", "prior", "path"],
)
def test_what_is_refused_late_leaves_the_old_run(run: RunDirectory, refused: dict[str, Any]) -> None:
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(FlowpriorError):
        train(**{**SMALL, **refused}, steps=2, out=run.path, overwrite=True)
    after = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    assert after == before


def test_a_folder_with_the_names_of_a_run_that_none_wrote_stays(tmp_path: Path) -> None:
    kept = [tmp_path / "checkpoints" / "epoch=1.ckpt", tmp_path / "info.json"]
    kept[0].parent.mkdir()
    for path in kept:
        path.write_text("mine")
    with pytest.raises(OptionError, match="but no run"):
        train(**SMALL, steps=2, out=tmp_path, overwrite=True)
    (tmp_path / "config.toml").write_text("[my]\n")
    with pytest.raises(OptionError, match="was written by no run"):
        train(**SMALL, steps=2, out=tmp_path, overwrite=True)
    assert [path.read_text() for path in kept] == ["mine", "mine"]


@pytest.mark.parametrize("name", ["samples", "checkpoints", "flow"])
def test_the_files_behind_a_link_stay(run: RunDirectory, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (run.path / name).rename(elsewhere)
    (run.path / name).symlink_to(elsewhere)
    before = sorted(run.path.rglob("*")), sorted(elsewhere.rglob("*"))
    with pytest.raises(CheckpointError, match="link to another place"):
        clear_run(run)
    assert (sorted(run.path.rglob("*")), sorted(elsewhere.rglob("*"))) == before


def test_nothing_is_replaced_where_nothing_can_be_locked(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "no locks here")

    monkeypatch.setattr("fcntl.flock", without_locks)
    with pytest.warns(RuntimeWarning), pytest.raises(OptionError, match="cannot be locked"):
        train(**SMALL, steps=2, out=run.path, overwrite=True)
    assert Flow.load(run.path).prior.name == "gaussian"


def test_to_go_on_and_to_replace_exclude_each_other(run: RunDirectory) -> None:
    with pytest.raises(OptionError, match="choose one of them"):
        train(**SMALL, out=run.path, overwrite=True, resume=True)
