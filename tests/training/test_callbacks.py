"""Callbacks: what they hear, the log line, the bar on stderr, and metrics.jsonl."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior import train
from flowprior.data import TensorData
from flowprior.errors import CheckpointError, OptionError, TrainingDiverged, TrainingInterrupted
from flowprior.training import Callback, RunConfig, RunDirectory, read_metrics
from flowprior.training.callbacks import MetricsFile, Monitor, TrainingStart
from flowprior.training.run import RunInfo
from flowprior.training.state import TrainingState, learning_rate

from .conftest import SAVED, components

OPTIONS: dict[str, Any] = {**SAVED, "log_every": 2, "sample_every": 3}


class Notes(Callback):
    """Writes down every call, and raises in the methods that it is given."""

    def __init__(self, *fails: str) -> None:
        self.fails = fails
        self.calls: list[tuple[Any, ...]] = []
        self.values: dict[int, Mapping[str, float]] = {}

    def _note(self, *call: Any) -> None:
        self.calls.append(call)
        if call[0] in self.fails:
            raise RuntimeError(f"failed at {call[0]}")

    def on_start(self, start: TrainingStart) -> None:
        self._note("start", start.step, start.folder)

    def on_step(self, step: int) -> None:
        self._note("step", step)

    def on_log(self, step: int, values: Mapping[str, float]) -> None:
        self.values[step] = values
        self._note("log", step)

    def on_sample(self, step: int, picture: Path) -> None:
        self._note("sample", step, picture.is_file())

    def on_checkpoint(self, step: int, checkpoint: Path) -> None:
        self._note("checkpoint", step, (checkpoint / "flow.json").is_file())

    def on_end(self, step: int, status: str) -> None:
        self._note("end", step, status)


def test_calls_come_in_the_order_of_what_happens_with_the_values_of_the_metrics_file(
    points: TensorData, tmp_path: Path
) -> None:
    notes, run = Notes(), tmp_path / "run"
    train(points, out=run, callbacks=[notes], **{**OPTIONS, "steps": 2})
    train(points, out=run, callbacks=[notes], resume=True, **OPTIONS)
    assert notes.calls == [
        ("start", 0, run),
        ("step", 1),
        ("step", 2),
        ("log", 2),
        ("checkpoint", 2, True),
        ("end", 2, "finished"),
        ("start", 2, run),
        ("step", 3),
        ("sample", 3, True),
        ("step", 4),
        ("log", 4),
        ("checkpoint", 4, True),
        ("end", 4, "finished"),
    ]
    lines = [line for line in read_metrics(run / "metrics.jsonl") if line["kind"] == "train"]
    assert lines == [{"step": step, "kind": "train", **values} for step, values in notes.values.items()]
    assert all(0 < values["data_wait"] < 1 for values in notes.values.values())


@pytest.mark.parametrize("place", ["start", "step", "end"])
def test_what_a_callback_raises_ends_the_training_and_those_that_started_hear_of_it(
    points: TensorData, tmp_path: Path, place: str
) -> None:
    before, after = Notes(), Notes()
    with pytest.raises(RuntimeError, match=f"failed at {place}"):
        train(points, out=tmp_path / "run", callbacks=[before, Notes(place), after], **OPTIONS)
    assert before.calls[-1] == ("end", {"start": 0, "step": 1, "end": 4}[place], "failed")
    assert (
        after.calls[-1:]
        == {
            "start": [],
            "step": [("end", 1, "failed")],
            "end": [("end", 4, "finished")],
        }[place]
    )
    assert RunInfo(tmp_path / "run" / "info.json").read()["status"] == "failed"


def test_the_end_is_called_by_its_name(points: TensorData, tmp_path: Path) -> None:
    stopped, diverged = Notes(), Notes()
    with pytest.raises(TrainingInterrupted):
        train(points, out=tmp_path / "run", callbacks=[stopped], max_minutes=1e-9, **OPTIONS)
    assert stopped.calls[-1] == ("end", 1, "interrupted")
    wild = TensorData(points.x * 1e30, points.cond, name="wild", classes=3)
    with pytest.raises(TrainingDiverged):
        train(wild, callbacks=[diverged], **OPTIONS)
    assert diverged.calls[-1][0::2] == ("end", "diverged")


def test_a_check_is_made_before_anything_else(tmp_path: Path) -> None:
    class Picky(Callback):
        def check(self, folder: Path | None) -> None:
            raise OptionError(f"not in {folder}")

    with pytest.raises(OptionError, match="not in None"):
        train("no-such-data", callbacks=[Picky()])
    with pytest.raises(OptionError, match="run"):
        train("no-such-data", out=tmp_path / "run", callbacks=[Picky()])
    assert not (tmp_path / "run").exists()


def test_a_log_line_has_means_and_the_rate_of_its_step(points: TensorData, tmp_path: Path) -> None:
    state = TrainingState(components(points))
    with Monitor(state, RunDirectory(tmp_path), progress=False) as monitor:
        for loss in (1.0, 2.0):
            state.means.add(torch.tensor([loss, 2 * loss]))
            state.step += 1
        monitor.log(state)
        state.means.add(torch.tensor([5.0, 6.0]))
        state.step += 1
        monitor.log(state)
    first, second = read_metrics(tmp_path / "metrics.jsonl")
    assert (first["step"], first["kind"], first["loss"], first["grad_norm"]) == (2, "train", 1.5, 3.0)
    assert (second["step"], second["loss"], second["grad_norm"]) == (3, 5.0, 6.0)
    assert first["lr"] == learning_rate(1, state.config)
    assert first["peak_memory"] > 1 << 20


@pytest.mark.parametrize("shown", [True, False])
def test_the_bar_is_on_stderr_and_only_on_request(
    points: TensorData, capsys: pytest.CaptureFixture[str], shown: bool
) -> None:
    state = TrainingState(components(points))
    with Monitor(state, None, progress=shown) as monitor:
        state.means.add(torch.tensor([0.125, 1.0]))
        state.step = 12
        monitor.tell("on_step", 12)
        monitor.log(state)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("loss 0.125" in captured.err and "12/12" in captured.err) is shown
    assert shown or captured.err == ""


def test_speed_and_waiting_are_of_the_time_since_the_last_log(
    points: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes, state, times = Notes(), TrainingState(components(points)), iter([10.0, 12.0, 13.0])
    state.step = 100
    with Monitor(state, None, False, [notes]) as monitor, monkeypatch.context() as patch:
        monitor._lap = (100, 0.0, 10.0)
        next(times)
        patch.setattr("time.perf_counter", lambda: next(times))
        for state.step, state.waited in ((110, 0.5), (113, 1.3)):
            state.means.add(torch.ones(2))
            monitor.log(state)
    logged = list(notes.values.values())
    assert [values["steps_per_second"] for values in logged] == pytest.approx([5.0, 3.0])
    assert [values["data_wait"] for values in logged] == pytest.approx([0.25, 0.8])


def started(path: Path, step: int = 0) -> MetricsFile:
    file = MetricsFile(path)
    file.on_start(TrainingStart(RunConfig(), step, path.parent))
    return file


def test_resuming_drops_later_and_torn_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = started(path)
    for step in (0, 10, 20, 30):
        metrics.on_log(step, {"loss": float(step)})
    metrics.on_end(0, "finished")
    path.write_text(path.read_text() + '{"step": 40, "lo')
    resumed = started(path, step=20)
    resumed.on_log(30, {"loss": 3.0})
    resumed.on_end(0, "finished")
    losses = [(line["step"], line["loss"]) for line in read_metrics(path)]
    assert losses == [(0, 0.0), (10, 10.0), (20, 20.0), (30, 3.0)]


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = started(tmp_path / "metrics.jsonl")

    def full(text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    metrics._file.close()
    monkeypatch.setattr(metrics, "_file", type("Full", (), {"write": staticmethod(full)})())
    with pytest.raises(CheckpointError, match=r"cannot write .*metrics\.jsonl: .*No space left on device"):
        metrics.on_log(1, {})
