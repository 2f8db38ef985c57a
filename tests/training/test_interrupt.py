"""Signals, kills and the limit of time: the step is finished, and what was stopped can be resumed."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior import train
from flowprior.cli import main
from flowprior.errors import OptionError, TrainingInterrupted
from flowprior.storage.writing import is_leftover
from flowprior.training import Callback, read_metrics
from flowprior.training.checkpoints import list_checkpoints
from flowprior.training.loop import SIGNALS, noted_signals
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


def test_a_limit_needs_a_folder_to_go_on_from() -> None:
    with pytest.raises(OptionError, match=r"max_minutes=5 stops a run .* give one with out \(--out\)"):
        train(torch.randn(20, 2), steps=2, max_minutes=5, **OPTIONS)


# -- kills at random moments ----------------------------------------------------------------------


COMMAND = [
    *("train", "--data", "eight-modes:n=200", "--prior", "gmm:components=2", "--coupling", "condot"),
    *("--model", "mlp:width=16,depth=1", "--device", "cpu", "--batch-size", "8", "--steps", "80"),
    *(word for key in ("log", "checkpoint") for word in ("--set", f"training.{key}_every=1")),
    *("--set", "training.sample_every=0", "--resume", "--json"),
]


def leftovers(run: Path) -> list[str]:
    """Return temporary files and folders, and files of flows that no flow.json binds."""
    found = [path for path in run.rglob("*") if is_leftover(path) or path.name.endswith((".tmp", ".lock"))]
    for folder in {path.parent for path in run.rglob("weights-*.safetensors")}:
        description = folder / "flow.json"
        bound = json.loads(description.read_text())["files"].values() if description.is_file() else []
        names = [binding["name"] for binding in bound]
        found += [path for path in folder.glob("weights-*.safetensors") if path.name not in names]
    return sorted(str(path.relative_to(run)) for path in set(found))


def begun_process(run: Path) -> BaseProcess:
    """Start the training in a process of its own, forked so that it need not import torch again."""
    process = multiprocessing.get_context("fork").Process(target=main, args=([*COMMAND, "--out", str(run)],))
    process.start()
    return process


def size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def flow_of(run: Path) -> dict[str, bytes]:
    """Return the tensors of the saved flow, whose file bears their digest."""
    return {path.name: path.read_bytes() for path in (run / "flow").glob("weights-*.safetensors")}


@pytest.mark.slow
def test_kills_at_random_moments(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    chance, in_training, killed = random.Random(1), 0, tmp_path / "killed"
    metrics = killed / "metrics.jsonl"
    for _ in range(6):
        before, deadline = size(metrics), time.monotonic() + 120
        process = begun_process(killed)
        # Mostly after the first step, so that most kills fall into a step or a save.
        waits = chance.random() < 0.8
        while waits and size(metrics) in (0, before) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3))
        in_training += process.is_alive() and size(metrics) > 0
        process.kill()
        process.join()
    for run in (killed, tmp_path / "whole"):
        last = begun_process(run)
        last.join()
        assert last.exitcode == 0
    assert in_training
    assert leftovers(killed) == []
    assert flow_of(killed) == flow_of(tmp_path / "whole") != {}
