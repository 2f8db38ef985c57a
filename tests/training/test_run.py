"""The run's directory: who may write into it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flowprior.errors import CheckpointError, OptionError
from flowprior.training import RunConfig, RunDirectory, TrainingConfig
from flowprior.training.config import MAY_CHANGE


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "runs" / "a")
    run.create(RunConfig())
    return run


def test_check_writes_nothing(tmp_path: Path) -> None:
    RunDirectory(tmp_path / "new").check(resume=False)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_run_needs_resume(run: RunDirectory) -> None:
    with pytest.raises(OptionError, match=r"already holds a run; pass resume=True \(--resume\)"):
        run.check(resume=False)
    run.check(resume=True)


def test_checkpoints_without_a_configuration_are_a_run(run: RunDirectory) -> None:
    run.config.unlink()
    run.checkpoints.mkdir()
    with pytest.raises(OptionError, match="already holds a run"):
        run.check(resume=False)


def test_an_empty_directory_is_free_and_a_file_is_not(tmp_path: Path) -> None:
    RunDirectory(tmp_path).check(resume=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="is a file; choose a directory"):
        RunDirectory(tmp_path / "file").check(resume=False)


@pytest.mark.parametrize("changes", [{"lr": 0.5}, {"seed": 3}, {"steps": 1}, {"ema": 0.5}])
def test_what_would_train_something_else_is_refused(run: RunDirectory, changes: dict[str, Any]) -> None:
    ((key, value),) = changes.items()
    with pytest.raises(OptionError, match=rf"training\.{key} \S+ -> {value}") as caught:
        run.check_unchanged(RunConfig(training=TrainingConfig(**changes)))
    assert "\n" not in str(caught.value)


def test_what_only_changes_what_is_seen_is_allowed(run: RunDirectory) -> None:
    training = TrainingConfig(steps=4000, log_every=1, sample_every=0, checkpoint_every=7, keep_checkpoints=9)
    run.check_unchanged(replace(RunConfig(), training=training))
    assert {f"training.{name}" for name in vars(training)} > MAY_CHANGE


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write "):
        RunDirectory(tmp_path / "file" / "run").create(RunConfig())
