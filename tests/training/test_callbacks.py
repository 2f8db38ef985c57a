"""Callbacks: what they are told, the log line, the bar on stderr, and metrics.jsonl."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior.data import TensorData
from flowprior.errors import CheckpointError, OptionError, TrainingDiverged, UnknownComponentError
from flowprior.training import Callback, RunDirectory, read_metrics, train
from flowprior.training.callbacks import MetricsFile, Monitor, TrainingStart
from flowprior.training.interrupts import TrainingInterrupted
from flowprior.training.run import RunInfo
from flowprior.training.state import TrainingState, learning_rate_factor

from .conftest import SAVED, components

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


def at_step(data: TensorData, step: int) -> TrainingState:
    state = TrainingState(components(data))
    state.step = step
    return state


def test_a_log_line_has_means_and_the_rate_of_its_step(points: TensorData, tmp_path: Path) -> None:
    state = at_step(points, 0)
    with Monitor(state, RunDirectory(tmp_path), progress=False) as monitor:
        for loss in (1.0, 2.0):
            state.means.add(torch.tensor(loss), torch.tensor(2 * loss))
            state.step += 1
        monitor.log(state)
        state.means.add(torch.tensor(5.0), torch.tensor(6.0))
        state.step += 1
        monitor.log(state)
    first, second = read_metrics(tmp_path / "metrics.jsonl")
    assert (first["step"], first["kind"], first["loss"], first["grad_norm"]) == (2, "train", 1.5, 3.0)
    assert (second["step"], second["loss"], second["grad_norm"]) == (3, 5.0, 6.0)
    assert first["lr"] == state.config.lr * learning_rate_factor(1, state.config)
    assert first["steps_per_second"] > 0
    assert first["peak_memory"] > 1 << 20


@pytest.mark.parametrize("shown", [True, False])
def test_the_bar_is_on_stderr_and_only_on_request(
    points: TensorData, capsys: pytest.CaptureFixture[str], shown: bool
) -> None:
    state = at_step(points, 0)
    with Monitor(state, None, progress=shown) as monitor:
        state.means.add(torch.tensor(0.125), torch.tensor(1.0))
        state.step = 12
        monitor.advance(12)
        monitor.log(state)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("loss 0.125" in captured.err and "12/12" in captured.err) is shown
    assert shown or captured.err == ""


def test_speed_and_waiting_are_of_the_time_since_the_last_log(
    points: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[Mapping[str, float]] = []

    class Noted(Callback):
        def on_log(self, step: int, values: Mapping[str, float]) -> None:
            logged.append(values)

    state, times = at_step(points, 100), iter([10.0, 12.0, 13.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    monitor = Monitor(state, None, False, [Noted()])
    for state.step, waited in ((110, 0.5), (113, 1.3)):
        monitor.log(state, waited)
    assert [values["steps_per_second"] for values in logged] == pytest.approx([5.0, 3.0])
    assert [values["data_wait"] for values in logged] == pytest.approx([0.25, 0.8])


def test_resuming_drops_later_and_torn_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path)
    for step in (0, 10, 20, 30):
        metrics.write(step, "train", loss=float(step))
    metrics.on_end(0, "finished")
    path.write_text(path.read_text() + '{"step": 40, "lo')
    resumed = MetricsFile(path, step=20)
    resumed.write(30, "train", loss=3.0)
    resumed.on_end(0, "finished")
    assert [(line["step"], line["loss"]) for line in read_metrics(path)] == [
        (0, 0.0),
        (10, 10.0),
        (20, 20.0),
        (30, 3.0),
    ]


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = MetricsFile(tmp_path / "metrics.jsonl")

    def full(text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    metrics._file.close()
    monkeypatch.setattr(metrics, "_file", type("Full", (), {"write": staticmethod(full)})())
    with pytest.raises(CheckpointError, match=r"cannot write .*metrics\.jsonl: .*No space left on device"):
        metrics.write(1, "train")
