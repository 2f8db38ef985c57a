"""The monitor: what a log line holds, and the bar on stderr."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from flowprior.data import TensorData
from flowprior.training import RunDirectory, read_metrics
from flowprior.training.callbacks import Callback, Monitor
from flowprior.training.state import TrainingState, learning_rate_factor

from .conftest import components


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


def test_the_bar_shows_no_loss_before_there_is_one(
    points: TensorData, capsys: pytest.CaptureFixture[str]
) -> None:
    with Monitor(at_step(points, 12), None, progress=True):
        pass
    shown = capsys.readouterr().err
    assert "12/12" in shown
    assert "loss" not in shown
    assert "nan" not in shown


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
