"""SIGKILL at random moments of a small training that saves at every step, also while it saves.

After each kill the training is started again with ``--resume``; after the last one it runs to its end.
Nothing may be left over then, and the flow has to be that of a run that nobody disturbed.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

import flowprior.training.trainer  # noqa: F401  (before the first fork)
from flowprior.cli import main
from flowprior.storage.writing import is_leftover

OPTIONS = [
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


def begun(run: Path) -> BaseProcess:
    """Start the training in a process of its own, forked so that it need not import torch again."""
    process = multiprocessing.get_context("fork").Process(target=main, args=([*OPTIONS, "--out", str(run)],))
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
        process = begun(killed)
        # Mostly after the first step, so that most kills fall into a step or a save.
        waits = chance.random() < 0.8
        while waits and size(metrics) in (0, before) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3))
        in_training += process.is_alive() and size(metrics) > 0
        process.kill()
        process.join()
    for run in (killed, tmp_path / "whole"):
        last = begun(run)
        last.join()
        assert last.exitcode == 0
    assert in_training
    assert leftovers(killed) == []
    assert flow_of(killed) == flow_of(tmp_path / "whole") != {}
