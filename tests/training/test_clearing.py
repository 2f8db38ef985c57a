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


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_run_takes_the_place_of_one(run: RunDirectory) -> None:
    train(**{**SMALL, "prior": "gmm"}, steps=2, out=run.path, overwrite=True)
    assert run.read_config().prior == "gmm"
    assert [line["step"] for line in read_metrics(run.metrics) if line["kind"] == "train"] == [2]
    assert [path.name for path in run.samples.iterdir()] == ["step-000002.png"]
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-000002"]
    info = json.loads(run.info.read_text())
    assert (info["status"], info["step"], info["resumed"]) == ("finished", 2, [])
    assert Flow.load(run.path).prior.name == "gmm"


def test_all_of_a_run_goes_and_what_somebody_else_put_there_stays(run: RunDirectory) -> None:
    kept = [run.path / "notes.txt", run.samples / "best.png", run.checkpoints / "mine" / "weights.pt"]
    for path in kept:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    clear_run(run)
    assert sorted(content(run.path)) == sorted(kept)


def test_a_cache_of_latents_stays_where_its_extension_is_missing(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.latents.mkdir()
    every = plugins.points_of
    monkeypatch.setattr(plugins, "points_of", lambda group: [] if "latents" in group else every(group))
    train(**SMALL, steps=2, out=run.path, overwrite=True)
    assert run.latents.is_dir()
    assert Flow.load(run.path).metadata["step"] == 2


@pytest.mark.parametrize(
    "refused",
    [
        {"prior": "gmn"},
        {"resume": True},
        {"accumulate": 7},
        {"data": torch.zeros(64, 2), "prior": "kernel-mean"},
        {"prior": "gmm", "path": "vp"},
    ],
    ids=["name", "resume", "sizes", "prior", "path"],
)
def test_what_is_refused_leaves_the_old_run(run: RunDirectory, refused: dict[str, Any]) -> None:
    before = content(run.path)
    with pytest.raises(FlowpriorError):
        train(**{**SMALL, **refused}, steps=2, out=run.path, overwrite=True)
    with FolderLock(run.path), pytest.raises(OptionError, match="by another process"):
        train(**SMALL, out=run.path, overwrite=True)
    assert content(run.path) == before


def test_a_folder_with_the_names_of_a_run_that_none_wrote_stays(tmp_path: Path) -> None:
    kept = [tmp_path / "checkpoints" / "epoch=1.ckpt", tmp_path / "info.json"]
    kept[0].parent.mkdir()
    for path in kept:
        path.write_text("mine")
    with pytest.raises(OptionError, match="but no run"):
        train(**SMALL, steps=2, out=tmp_path, overwrite=True)
    (tmp_path / "config.toml").write_text("[my]\n")
    with pytest.raises(OptionError, match=r"holds 'config\.toml' but no run"):
        train(**SMALL, steps=2, out=tmp_path, overwrite=True)
    assert [path.read_text() for path in kept] == ["mine", "mine"]


@pytest.mark.parametrize("name", ["samples", "checkpoints", "flow", "mine.txt"])
def test_links_and_files_of_others_beside_the_flow_refuse_it(
    run: RunDirectory, tmp_path: Path, name: str
) -> None:
    if name == "mine.txt":
        (run.flow / name).write_text("mine")
    else:
        (run.path / name).rename(tmp_path / "elsewhere")
        (run.path / name).symlink_to(tmp_path / "elsewhere")
    before = content(run.path) | content(tmp_path)
    with pytest.raises(CheckpointError, match=r"cannot be replaced: .* is a link to another place, or was"):
        clear_run(run)
    left = content(run.path) | content(tmp_path)
    if name == "mine.txt":  # its card is gone, and can be written anew
        del before[run.flow / "README.md"]
    assert left == before


def test_nothing_is_replaced_where_nothing_can_be_locked(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "no locks here")

    monkeypatch.setattr("fcntl.flock", without_locks)
    with pytest.warns(RuntimeWarning), pytest.raises(OptionError, match="cannot be locked"):
        train(**SMALL, steps=2, out=run.path, overwrite=True)
    assert Flow.load(run.path).prior.name == "gaussian"
