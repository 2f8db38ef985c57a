"""Signals: the first one waits for the step, real processes leave with its code and can be resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior.training import RunDirectory, list_checkpoints, read_metrics, train
from flowprior.training.interrupt import SignalWatch, TrainingInterrupted
from flowprior.training.monitor import Monitor
from flowprior.training.run_info import RunInfo
from flowprior.training.state import TrainingState

SCRIPT = """
import sys, torch
from flowprior.training import train
x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
train(x, prior="gaussian", coupling="condot", model="mlp:width=16,depth=1", out=sys.argv[1],
      steps=int(sys.argv[2]), batch_size=8, log_every=1, sample_every=0, checkpoint_every=0, device="cpu")
"""
OPTIONS: dict[str, Any] = {
    "prior": "gaussian",
    "coupling": "condot",
    "model": "mlp:width=16,depth=1",
    "batch_size": 8,
    "log_every": 1,
    "sample_every": 0,
    "checkpoint_every": 0,
    "device": "cpu",
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_is_noted_and_handlers_come_back(number: signal.Signals) -> None:
    received: list[int] = []
    before = signal.signal(number, lambda n, frame: received.append(n))
    try:
        with SignalWatch() as watch:
            os.kill(os.getpid(), number)
            assert watch.received == number
            assert received == []
            os.kill(os.getpid(), number)
            assert received == [number]
        os.kill(os.getpid(), number)
        assert received == [number, number]
    finally:
        signal.signal(number, before)


def test_handlers_come_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    inside: list[object] = []

    def fail() -> None:
        with SignalWatch():
            inside.append(signal.getsignal(signal.SIGTERM))
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    assert inside != [before]
    assert signal.getsignal(signal.SIGTERM) == before


def test_no_handlers_where_not_enabled() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with SignalWatch(enabled=False):
        assert signal.getsignal(signal.SIGTERM) == before


def test_training_in_another_thread_installs_no_handlers(tmp_path: Path) -> None:
    finished: list[Path] = []

    def work() -> None:
        train(torch.randn(20, 2), out=tmp_path / "run", steps=2, **OPTIONS)
        finished.append(tmp_path)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert finished


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruption_leaves_quietly_with_the_code_of_the_signal(number: signal.Signals, code: int) -> None:
    stop = TrainingInterrupted("stopped; resume with --resume", number)
    assert isinstance(stop, SystemExit)
    assert stop.code == code
    assert "resume" in str(stop)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_real_process_saves_and_can_be_resumed(number: signal.Signals, tmp_path: Path) -> None:
    out, steps = tmp_path / "run", 100_000
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(out), str(steps)], stderr=subprocess.PIPE, text=True
    )
    try:
        _wait_for_steps(process, out, 3)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + number, stderr
    assert "Traceback" not in stderr
    assert f"stopped by {number.name}" in stderr
    assert "--resume" in stderr
    ((step, path),) = list_checkpoints(out / "checkpoints")
    assert {file.name for file in path.iterdir()} >= {"flow.json", "model.safetensors", "training.pt"}
    assert RunInfo(out / "info.json").read()["status"] == "interrupted"

    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    # A run may not shrink; here the rest of it would take too long, so its configuration is rewritten.
    run = RunDirectory(out)
    config = run.read_config()
    run.create(replace(config, training=replace(config.training, steps=step)))
    train(x, out=out, resume=True, steps=step + 2, **OPTIONS)
    logged = [line["step"] for line in read_metrics(out / "metrics.jsonl") if line["kind"] == "train"]
    assert logged == list(range(1, step + 3))


def test_a_signal_while_a_step_is_logged_is_saved_after_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Monitor.log

    def log_and_interrupt(monitor: Monitor, state: TrainingState) -> None:
        log(monitor, state)
        if state.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Monitor, "log", log_and_interrupt)
    with pytest.raises(TrainingInterrupted, match="after step 3 of 9"):
        train(torch.randn(20, 2), out=tmp_path / "run", steps=9, **OPTIONS)
    assert [step for step, _ in list_checkpoints(tmp_path / "run" / "checkpoints")] == [3]


def _wait_for_steps(process: subprocess.Popen[str], out: Path, steps: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if len(read_metrics(out / "metrics.jsonl")) > steps:
            return
        time.sleep(0.05)
    raise AssertionError(f"the process made no {steps} steps: {process.poll()}")
