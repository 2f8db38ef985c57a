"""Checkpoints that are truncated, corrupted, unsafe, too many, or meet a full disk."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior.data import TensorData
from flowprior.errors import CheckpointError
from flowprior.training import checkpoints
from flowprior.training.checkpoints import list_checkpoints, read_checkpoint
from flowprior.training.state import TrainingState
from tests.flow_folder import weights_of
from tests.fuzz.test_run_folders import Canary

from .conftest import components


@pytest.fixture
def state(points: TensorData) -> TrainingState:
    return TrainingState(components(points))


def save_at(state: TrainingState, folder: Path, *steps: int) -> None:
    for step in steps:
        state.step = step
        state.save(folder)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_and_order(state: TrainingState, tmp_path: Path) -> None:
    save_at(state, tmp_path, 5, 1_000_000)
    assert [step for step, _ in list_checkpoints(tmp_path)] == [5, 1_000_000]
    weights = weights_of(tmp_path / "step-000005").name
    assert names(tmp_path / "step-000005") == ["flow.json", "model.safetensors", "training.pt", weights]


def test_the_newest_are_kept_and_an_unreadable_later_one_does_not_count(
    state: TrainingState, tmp_path: Path
) -> None:
    (tmp_path / "step-000009").mkdir()
    save_at(state, tmp_path, 1, 2, 3)
    assert names(tmp_path) == ["step-000002", "step-000003", "step-000009"]


@pytest.mark.parametrize("function", ["save_state", "save_tensors"])
@pytest.mark.parametrize("step", [2, 1])
def test_a_full_disk_leaves_the_previous_checkpoint(
    state: TrainingState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, step: int
) -> None:
    """Also the one of the step that is written again."""
    save_at(state, tmp_path, 1)

    def full(path: Path, *values: Any) -> None:
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, function, full)
    with pytest.raises(CheckpointError, match="No space left on device") as caught:
        save_at(state, tmp_path, step)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["step-000001"]
    assert read_checkpoint(tmp_path / "step-000001")[-1]["step"] == 1


@pytest.mark.parametrize("file", ["weights", "model.safetensors", "training.pt", "flow.json"])
def test_a_damaged_checkpoint_is_skipped_with_a_warning(
    state: TrainingState, tmp_path: Path, file: str
) -> None:
    save_at(state, tmp_path, 1, 2)
    folder = tmp_path / "step-000002"
    path = weights_of(folder) if file == "weights" else folder / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.warns(RuntimeWarning, match="step-000002 is skipped"):
        assert state.resume(tmp_path) == tmp_path / "step-000001"
    assert state.step == 1
    (tmp_path / "step-000001" / "flow.json").unlink()
    with (
        pytest.warns(RuntimeWarning),
        pytest.raises(CheckpointError, match=r"can be read \(step-000002: .*step-000001: "),
    ):
        state.resume(tmp_path)


@pytest.mark.parametrize("writer", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_pickled_objects_are_never_run(
    state: TrainingState, tmp_path: Path, writer: Callable[[Any, Path], Any]
) -> None:
    save_at(state, tmp_path, 1)
    writer({"step": 1, "optimizer": Canary(tmp_path / "owned")}, tmp_path / "step-000001" / "training.pt")
    with (
        pytest.warns(RuntimeWarning, match="step-000001 is skipped"),
        pytest.raises(CheckpointError, match=r"no checkpoint in .* can be read"),
    ):
        state.resume(tmp_path)
    assert not (tmp_path / "owned").exists()
