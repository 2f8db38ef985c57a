"""What callbacks are told, in which order, and that a run is the same with and without them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior.data import TensorData
from flowprior.errors import OptionError, TrainingDiverged, UnknownComponentError
from flowprior.training import Callback, TrainingInterrupted, TrainingStart, read_metrics, train
from flowprior.training.run import RunInfo

from .conftest import SAVED

OPTIONS: dict[str, Any] = {**SAVED, "log_every": 2, "sample_every": 3}


class Notes(Callback):
    """Writes down every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.values: dict[int, Mapping[str, float]] = {}

    def on_start(self, start: TrainingStart) -> None:
        self.calls.append(("start", start.step, start.folder))

    def on_step(self, step: int) -> None:
        self.calls.append(("step", step))

    def on_log(self, step: int, values: Mapping[str, float]) -> None:
        self.calls.append(("log", step))
        self.values[step] = values

    def on_sample(self, step: int, picture: Path) -> None:
        self.calls.append(("sample", step, picture.is_file()))

    def on_checkpoint(self, step: int, checkpoint: Path) -> None:
        self.calls.append(("checkpoint", step, (checkpoint / "flow.json").is_file()))

    def on_end(self, step: int, status: str) -> None:
        self.calls.append(("end", step, status))


class Fails(Callback):
    """Raises in the methods that it is given."""

    def __init__(self, *places: str) -> None:
        self.places = places

    def on_start(self, start: TrainingStart) -> None:
        self._fail("start")

    def on_step(self, step: int) -> None:
        self._fail("step")

    def on_end(self, step: int, status: str) -> None:
        self._fail("end")

    def _fail(self, place: str) -> None:
        if place in self.places:
            raise RuntimeError(f"failed at {place}")


def test_calls_come_in_the_order_of_what_they_tell(points: TensorData, tmp_path: Path) -> None:
    notes = Notes()
    train(points, out=tmp_path / "run", callbacks=[notes], **OPTIONS)
    assert notes.calls == [
        ("start", 0, tmp_path / "run"),
        ("step", 1),
        ("step", 2),
        ("log", 2),
        ("checkpoint", 2, True),
        ("step", 3),
        ("sample", 3, True),
        ("step", 4),
        ("log", 4),
        ("checkpoint", 4, True),
        ("end", 4, "finished"),
    ]


def test_values_are_those_of_the_metrics_file(points: TensorData, tmp_path: Path) -> None:
    notes = Notes()
    train(points, out=tmp_path / "run", callbacks=[notes], **OPTIONS)
    lines = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if line["kind"] == "train"]
    assert notes.values == {
        line["step"]: {name: value for name, value in line.items() if name not in ("step", "kind")}
        for line in lines
    }
    assert list(notes.values[2]) == [
        "loss",
        "grad_norm",
        "lr",
        "steps_per_second",
        "data_wait",
        "peak_memory",
    ]
    assert all(0 < values["data_wait"] < 1 for values in notes.values.values())


def test_a_run_that_goes_on_tells_from_its_next_step(points: TensorData, tmp_path: Path) -> None:
    train(points, out=tmp_path / "run", **{**OPTIONS, "steps": 2})
    notes = Notes()
    train(points, out=tmp_path / "run", resume=True, callbacks=[notes], **OPTIONS)
    assert notes.calls[:2] == [("start", 2, tmp_path / "run"), ("step", 3)]


def test_without_a_folder_there_is_nothing_drawn_or_saved(points: TensorData) -> None:
    notes = Notes()
    train(points, callbacks=[notes], **OPTIONS)
    assert notes.calls[0] == ("start", 0, None)
    assert {call[0] for call in notes.calls} == {"start", "step", "log", "end"}


def test_what_is_trained_is_the_same_with_and_without(points: TensorData) -> None:
    plain, told = train(points, **OPTIONS), train(points, callbacks=[Notes(), Notes()], **OPTIONS)
    for name, weight in plain.model.state_dict().items():
        assert torch.equal(weight, told.model.state_dict()[name]), name


def test_what_a_callback_raises_ends_the_training_and_all_are_told(
    points: TensorData, tmp_path: Path
) -> None:
    before, after = Notes(), Notes()
    with pytest.raises(RuntimeError, match="failed at step"):
        train(points, out=tmp_path / "run", callbacks=[before, Fails("step"), after], **OPTIONS)
    assert before.calls[1:] == [("step", 1), ("end", 1, "failed")]
    assert after.calls[1:] == [("end", 1, "failed")]
    assert RunInfo(tmp_path / "run" / "info.json").read()["status"] == "failed"


def test_one_that_fails_at_the_start_leaves_the_next_ones_alone(points: TensorData, tmp_path: Path) -> None:
    before, after = Notes(), Notes()
    with pytest.raises(RuntimeError, match="failed at start"):
        train(points, out=tmp_path / "run", callbacks=[before, Fails("start"), after], **OPTIONS)
    assert before.calls == [("start", 0, tmp_path / "run"), ("end", 0, "failed")]
    assert after.calls == []


def test_an_error_at_the_end_does_not_hide_an_earlier_one(points: TensorData) -> None:
    with (
        pytest.warns(RuntimeWarning, match="a callback failed at the end, too: failed at end"),
        pytest.raises(RuntimeError, match="failed at step"),
    ):
        train(points, callbacks=[Fails("step", "end")], **OPTIONS)
    last = Notes()
    with pytest.raises(RuntimeError, match="failed at end"):
        train(points, callbacks=[Fails("end"), last], **OPTIONS)
    assert last.calls[-1] == ("end", 4, "finished")


def test_the_end_is_called_by_its_name(points: TensorData, tmp_path: Path) -> None:
    stopped, diverged = Notes(), Notes()
    with pytest.raises(TrainingInterrupted):
        train(points, out=tmp_path / "run", callbacks=[stopped], max_minutes=1e-9, **OPTIONS)
    assert stopped.calls[-1] == ("end", 1, "interrupted")
    wild = TensorData(points.x * 1e30, points.cond, name="wild", classes=3)
    with pytest.raises(TrainingDiverged):
        train(wild, callbacks=[diverged], **OPTIONS)
    assert diverged.calls[-1][0::2] == ("end", "diverged")


def test_a_callback_may_be_named_and_an_unknown_name_is_refused(points: TensorData) -> None:
    with pytest.raises(
        UnknownComponentError, match="unknown callback 'tensorbored'; did you mean 'tensorboard'"
    ):
        train(points, callbacks=["tensorbored"], **OPTIONS)


def test_a_check_is_made_before_anything_else(tmp_path: Path) -> None:
    class Picky(Callback):
        def check(self, folder: Path | None) -> None:
            raise OptionError(f"not in {folder}")

    with pytest.raises(OptionError, match="not in None"):
        train("no-such-data", callbacks=[Picky()])
    with pytest.raises(OptionError, match="run"):
        train("no-such-data", out=tmp_path / "run", callbacks=[Picky()])
    assert not (tmp_path / "run").exists()
