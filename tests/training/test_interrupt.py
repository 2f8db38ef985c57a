"""Signals and the limit of time: the step is finished, processes leave with a code and can be resumed."""

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

from flowprior.errors import OptionError
from flowprior.training import RunDirectory, read_metrics, train
from flowprior.training.callbacks import Monitor
from flowprior.training.checkpoints import list_checkpoints
from flowprior.training.interrupts import LIMIT_CODE, SIGNALS, StopRequests, TrainingInterrupted
from flowprior.training.run import RunInfo
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


@pytest.mark.parametrize("number", SIGNALS)
def test_first_signal_is_noted_and_handlers_come_back(number: signal.Signals) -> None:
    received: list[int] = []
    before = signal.signal(number, lambda n, frame: received.append(n))
    try:
        with StopRequests() as watch:
            os.kill(os.getpid(), number)
            reason = watch.reason()
            assert reason == (number.name, 128 + number)
            assert received == []
            os.kill(os.getpid(), number)
            assert received == [number]
        os.kill(os.getpid(), number)
        assert received == [number, number]
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_that_is_passed_on_twice_is_one(number: signal.Signals) -> None:
    received: list[int] = []
    before = signal.signal(number, lambda n, frame: received.append(n))
    try:
        with StopRequests(launched=True) as watch:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
            assert watch.reason() == (number.name, 128 + number)
        assert received == []
        os.kill(os.getpid(), number)
        assert received == [number]
    finally:
        signal.signal(number, before)


def test_training_in_another_thread_installs_no_handlers(tmp_path: Path) -> None:
    finished: list[Path] = []

    def work() -> None:
        train(torch.randn(20, 2), out=tmp_path / "run", steps=2, **OPTIONS)
        finished.append(tmp_path)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert finished


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
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

    def log_and_interrupt(monitor: Monitor, state: TrainingState, waited: float) -> None:
        log(monitor, state, waited)
        if state.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Monitor, "log", log_and_interrupt)
    with pytest.raises(TrainingInterrupted, match="after step 3 of 9"):
        train(torch.randn(20, 2), out=tmp_path / "run", steps=9, **OPTIONS)
    assert [step for step, _ in list_checkpoints(tmp_path / "run" / "checkpoints")] == [3]


def test_a_limit_of_time_stops_after_the_step_that_reaches_it() -> None:
    now = time.monotonic()
    with StopRequests(minutes=1, begun=now - 50) as early, StopRequests(minutes=1, begun=now - 70) as late:
        assert early.reason() is None
        assert late.reason() == ("its limit of 1 minutes", LIMIT_CODE)
    with StopRequests(enabled=False, minutes=1, begun=now - 70) as off:
        assert off.reason() is None
    with StopRequests(minutes=0, begun=now - 1e9) as endless:
        assert endless.reason() is None


def test_pieces_of_limited_time_make_the_run_of_one_piece(tmp_path: Path) -> None:
    """Every piece is stopped after its first step, and goes on where the last one ended."""
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    whole = train(x, out=tmp_path / "whole", steps=4, **OPTIONS)
    for step in (1, 2, 3):
        with pytest.raises(
            TrainingInterrupted, match=f"its limit of 1e-09 minutes after step {step} of 4"
        ) as stop:
            train(x, out=tmp_path / "run", steps=4, max_minutes=1e-9, resume=True, **OPTIONS)
        assert stop.value.code == LIMIT_CODE
        assert RunInfo(tmp_path / "run" / "info.json").read()["status"] == "interrupted"
    pieces = train(x, out=tmp_path / "run", steps=4, resume=True, **OPTIONS)
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, pieces.model.state_dict()[name]), name


def test_a_limit_needs_a_folder_to_go_on_from() -> None:
    with pytest.raises(OptionError, match=r"max_minutes=5 stops a run .* give one with out \(--out\)"):
        train(torch.randn(20, 2), steps=2, max_minutes=5, **OPTIONS)


def _wait_for_steps(process: subprocess.Popen[str], out: Path, steps: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if len(read_metrics(out / "metrics.jsonl")) > steps:
            return
        time.sleep(0.05)
    raise AssertionError(f"the process made no {steps} steps: {process.poll()}")
