"""SIGKILL at random moments of a small training that saves at every step, also while it saves.

    python -m tests.training.kills --kills 60

After each kill the training is started again with ``--resume``; after the last one it runs to its end.
Nothing may be left over then, and the files of the flow have to be those of a run that nobody disturbed,
byte for byte.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NoReturn

import torch

import flowprior.training  # noqa: F401  (before the first fork)
from flowprior.cli import main
from flowprior.storage import is_leftover

STEPS = 600
LOG = "log.txt"
OPTIONS = [
    *("--data", "eight-modes:n=200", "--prior", "gmm:components=2", "--coupling", "condot"),
    *("--model", "mlp:width=16,depth=1"),
]
SETTINGS = {
    "batch_size": 8,
    "warmup": 2,
    "log_every": 1,
    "sample_every": 0,
    "checkpoint_every": 1,
    "device": "cpu",
}


def kill_often(folder: Path, kills: int, seed: int = 0, steps: int = STEPS) -> dict[str, object]:
    """Train twice, once undisturbed and once with ``kills`` kills; what came of it.

    Args:
        folder: for both runs.
        kills: how many.
        seed: of the moments.
        steps: of the training; enough that it does not end before the last kill.
    """
    torch.set_num_threads(1)
    whole, killed = folder / "whole", folder / "killed"
    _finish(whole, steps)
    chance, moments, found = random.Random(seed), [], 0
    for _ in range(kills):
        found += len(leftovers(killed))
        moments.append(_kill(killed, steps, chance))
    left_by_kills = len(leftovers(killed))
    _finish(killed, steps)
    return {
        "kills": kills,
        "in_training": sum(step is not None for step in moments),
        "steps_at_the_kills": [step for step in moments if step is not None],
        "leftovers_of_kills": found + left_by_kills,
        "leftovers_at_the_end": leftovers(killed),
        "equal": _flow(whole) == _flow(killed),
        "files": sorted(_flow(whole)),
    }


def leftovers(run: Path) -> list[str]:
    """Temporary files and folders, and files of flows that no flow.json binds."""
    found = [path for path in run.rglob("*") if is_leftover(path) or path.name.endswith((".tmp", ".lock"))]
    for folder in {path.parent for path in run.rglob("weights-*.safetensors")}:
        description = folder / "flow.json"
        bound = json.loads(description.read_text())["files"].values() if description.is_file() else []
        names = [binding["name"] for binding in bound]
        found += [path for path in folder.glob("weights-*.safetensors") if path.name not in names]
    return sorted(str(path.relative_to(run)) for path in set(found))


def _kill(run: Path, steps: int, chance: random.Random) -> int | None:
    """Start the training and kill it at a random moment; the step that it had reached, None where none.

    Mostly after its first step, so that most kills fall into a step or a save, now and then while it starts.
    """
    metrics, lock = run / "metrics.jsonl", run / ".lock"
    watched = metrics if chance.random() < 0.8 else lock
    before, deadline = _stamp(watched), time.monotonic() + 120
    process = Training(run, steps)
    try:
        while process.running() and time.monotonic() < deadline and _stamp(watched) in (before, None):
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.6))
        alive = process.running()
    finally:
        process.kill()
    lines = metrics.read_bytes().splitlines() if metrics.is_file() else []
    return len(lines) - 1 if alive and lines else None


def _finish(run: Path, steps: int) -> None:
    process = Training(run, steps)
    while process.running():
        time.sleep(0.01)
    assert process.code == 0, (run.parent / LOG).read_text()


class Training:
    """``flowprior train --resume`` in a process of its own, forked so that it need not import torch again."""

    def __init__(self, run: Path, steps: int) -> None:
        settings = [part for key, value in SETTINGS.items() for part in ("--set", f"training.{key}={value}")]
        arguments = ["train", "--out", str(run), "--resume", *OPTIONS, "--steps", str(steps), *settings]
        self.code: int | None = None
        self._number = os.fork()
        if self._number == 0:
            _call(arguments, run.parent / LOG)

    def running(self) -> bool:
        """Whether it has not ended yet."""
        if self.code is None:
            number, status = os.waitpid(self._number, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if number else None
        return self.code is None

    def kill(self) -> None:
        """End it at once, wherever it is."""
        if self.running():
            os.kill(self._number, signal.SIGKILL)
            os.waitpid(self._number, 0)
            self.code = -signal.SIGKILL


def _call(arguments: list[str], log: Path) -> NoReturn:
    """Run the command line in this process and end it, without coming back to what forked it."""
    code = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        main(arguments)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _flow(run: Path) -> dict[str, bytes]:
    """The files of the saved flow, by name; description and card without the commit, which may change."""
    files = {path.name: path.read_bytes() for path in (run / "flow").iterdir()}
    description = json.loads(files["flow.json"])
    del description["digest"]
    commit = str(description["metadata"].pop("commit"))
    card = files["README.md"].replace(commit.encode(), b"")
    return {**files, "flow.json": json.dumps(description).encode(), "README.md": card}


def _stamp(path: Path) -> tuple[int, int] | None:
    """Size and time of a file that is not empty."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if status.st_size else None


def run_from_the_command_line() -> None:
    parser = argparse.ArgumentParser(description="SIGKILL at random moments of a small training.")
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = kill_often(Path(folder), options.kills, options.seed, options.steps)
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    sys.exit(0 if result["equal"] and not result["leftovers_at_the_end"] else 1)


if __name__ == "__main__":
    run_from_the_command_line()
