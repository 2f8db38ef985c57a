"""TensorBoard and Weights & Biases, by what their own readers find in what was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from flowprior.data import TensorData
from flowprior.errors import CheckpointError, OptionError, TrainingInterrupted
from flowprior.extensions.trackers import TensorBoard, WeightsAndBiases, imported, kept_id
from flowprior.training import read_metrics, train
from tests.extensions.conftest import refused
from tests.training import conftest

points = conftest.points
OPTIONS: dict[str, Any] = {**conftest.SAVED, "log_every": 1, "sample_every": 2}


def losses(run: Path) -> dict[int, float]:
    lines = read_metrics(run / "metrics.jsonl")
    return {line["step"]: line["loss"] for line in lines if line["kind"] == "train"}


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_tensorboard_has_curves_pictures_and_the_end_and_each_step_once_after_a_stop(
    points: TensorData, tmp_path: Path
) -> None:
    """The last step before the stop has no checkpoint of its own to go on from but the one of the stop."""
    run = tmp_path / "run"
    with pytest.raises(TrainingInterrupted):
        train(points, out=run, callbacks=[TensorBoard()], max_minutes=1e-9, **OPTIONS)
    train(points, out=run, callbacks=["tensorboard"], resume=True, **OPTIONS)
    found = events(run / "tensorboard")
    curve = [(event.step, event.value) for event in found.Scalars("train/loss")]
    assert [step for step, _ in curve] == [1, 2, 3, 4]
    assert dict(curve) == pytest.approx(losses(run), rel=1e-6)
    assert {"train/lr", "train/steps_per_second", "train/peak_memory"} <= set(found.Tags()["scalars"])
    assert [event.step for event in found.Images("samples")] == [2, 4]
    assert found.Tensors("status/text_summary")[-1].tensor_proto.string_val == [b"finished"]


def test_wandb_has_curves_configuration_and_the_end(
    points: TensorData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the calls that it gets, in its own signature."""
    wandb = pytest.importorskip("wandb", reason="the test extra is not installed")
    monkeypatch.setattr(wandb, "init", create_autospec(wandb.init))
    run, started = tmp_path / "run", wandb.init.return_value
    train(points, out=run, callbacks=["wandb:mode=offline,project=tests"], **OPTIONS)
    expected = {"project": "tests", "mode": "offline", "id": kept_id(run / "wandb-id"), "resume": "allow"}
    assert expected.items() <= wandb.init.call_args.kwargs.items()
    assert wandb.init.call_args.kwargs["config"]["training"]["steps"] == OPTIONS["steps"]
    logged = [(call.kwargs["step"], call.args[0]) for call in started.log.call_args_list]
    curve = {step: values["train/loss"] for step, values in logged if "train/loss" in values}
    assert curve == pytest.approx(losses(run), rel=1e-6)
    assert [step for step, values in logged if "samples" in values] == [2, 4]
    started.summary.__setitem__.assert_called_once_with("status", "finished")
    started.finish.assert_called_once_with(exit_code=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (TensorBoard, "writes into the run's folder; give train one with out"),
        (lambda: WeightsAndBiases(mode="disabled"), "writes into the run's folder; give train one with out"),
        (lambda: WeightsAndBiases(mode="onlin"), "mode"),
        (lambda: imported("no_such_module_here", "wandb"), r"pip install wandb$"),
    ],
)
def test_what_a_tracker_needs_is_said(points: TensorData, call: Callable[[], Any], message: str) -> None:
    with refused(message, OptionError):
        train(points, callbacks=[call()], **OPTIONS)


def test_an_id_is_made_once_and_kept(tmp_path: Path) -> None:
    note = tmp_path / "wandb-id"
    made = kept_id(note)
    assert kept_id(note) == made
    note.write_text("../../etc", encoding="utf-8")
    assert kept_id(note) not in (made, "../../etc")
    note.write_text("x" * 1000, encoding="utf-8")
    with pytest.raises(CheckpointError, match="wandb-id"):
        kept_id(note)
