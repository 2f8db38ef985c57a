"""Signals and the limit of time: the step is finished, processes leave with a code and can be resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior import train
from flowprior.errors import OptionError, TrainingInterrupted
from flowprior.training import Callback, read_metrics
from flowprior.training.checkpoints import list_checkpoints
from flowprior.training.loop import LIMIT_CODE, SIGNALS, noted_signals
from flowprior.training.run import RunInfo

SCRIPT = """
import sys, torch
from flowprior import train
x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
train(x, prior="gaussian", coupling="condot", model="mlp:width=16,depth=1", out=sys.argv[1],
      steps=100_000, batch_size=8, log_every=1, sample_every=0, checkpoint_every=0, device="cpu")
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
def test_signals_are_noted_and_handlers_come_back(number: signal.Signals) -> None:
    """A second Ctrl-C does what it did; a scheduler and a launcher may both send the others."""
    obeyed: list[int] = []
    before = signal.signal(number, lambda n, frame: obeyed.append(n))
    try:
        with noted_signals(True) as received:
            os.kill(os.getpid(), number)
            assert (received, obeyed) == ([number], [])
            os.kill(os.getpid(), number)
            assert len(obeyed) == (number == signal.SIGINT)
        obeyed.clear()
        os.kill(os.getpid(), number)
        assert obeyed == [number]
        with noted_signals(False) as received:
            os.kill(os.getpid(), number)
        assert (received, obeyed) == ([], [number, number])
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
def test_a_real_process_saves_and_leaves_with_the_code_of_its_signal(
    number: signal.Signals, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(out)], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while len(read_metrics(out / "metrics.jsonl")) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + number, stderr
    assert "Traceback" not in stderr
    assert f"stopped by {number.name}" in stderr
    assert "--resume" in stderr
    ((step, _),) = list_checkpoints(out / "checkpoints")
    info = RunInfo(out / "info.json").read()
    assert (info["status"], info["step"]) == ("interrupted", step)


def test_a_signal_while_a_step_is_logged_is_saved_after_the_next(tmp_path: Path) -> None:
    class Interrupts(Callback):
        def on_log(self, step: int, values: Any) -> None:
            if step == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingInterrupted, match="after step 3 of 9"):
        train(torch.randn(20, 2), out=tmp_path / "run", steps=9, callbacks=[Interrupts()], **OPTIONS)
    assert [step for step, _ in list_checkpoints(tmp_path / "run" / "checkpoints")] == [3]


def test_pieces_of_limited_time_make_the_run_of_one_piece(tmp_path: Path) -> None:
    """Every piece is stopped after its first step, and goes on where the last one ended."""
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    whole = train(x, out=tmp_path / "whole", steps=4, max_minutes=60, **OPTIONS)
    for step in (1, 2, 3):
        expected = f"its limit of 1e-09 minutes after step {step} of 4"
        with pytest.raises(TrainingInterrupted, match=expected) as stop:
            train(x, out=tmp_path / "run", steps=4, max_minutes=1e-9, resume=True, **OPTIONS)
        assert stop.value.code == LIMIT_CODE
        assert RunInfo(tmp_path / "run" / "info.json").read()["status"] == "interrupted"
    pieces = train(x, out=tmp_path / "run", steps=4, resume=True, **OPTIONS)
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, pieces.model.state_dict()[name]), name


def test_a_limit_needs_a_folder_to_go_on_from() -> None:
    with pytest.raises(OptionError, match=r"max_minutes=5 stops a run .* give one with out \(--out\)"):
        train(torch.randn(20, 2), steps=2, max_minutes=5, **OPTIONS)
