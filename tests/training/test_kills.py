"""SIGKILL at random moments of a small training that saves at every step, also while it saves.

Of several processes one is killed, chosen by chance, and the others a random time after it. After each kill
the training is started again with ``--resume``; after the last one it runs to its end. Nothing may be left
over then, and the files of the flow have to be those of a run that nobody disturbed, byte for byte.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest
import torch

import flowprior.training  # noqa: F401  (before the first fork)
from flowprior.cli import main
from flowprior.storage.writing import is_leftover

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


def kill_often(
    folder: Path,
    kills: int,
    seed: int = 0,
    steps: int = STEPS,
    processes: int = 1,
) -> dict[str, object]:
    """Train twice, once undisturbed and once with ``kills`` kills; what came of it.

    Args:
        folder: for both runs.
        kills: how many.
        seed: of the moments.
        steps: of the training; enough that it does not end before the last kill.
        processes: that train together.
    """
    torch.set_num_threads(1)
    whole, killed = folder / "whole", folder / "killed"
    start = partial(Training, steps=steps, processes=processes)
    _finish(start(whole))
    chance, moments = random.Random(seed), []
    for _ in range(kills):
        moments.append(_kill(killed, start, chance))
    _finish(start(killed))
    return {
        "in_training": sum(step is not None for step in moments),
        "leftovers_at_the_end": leftovers(killed),
        "equal": _flow(whole) == _flow(killed),
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


def _kill(run: Path, start: Callable[[Path], Training], chance: random.Random) -> int | None:
    """Start the training and kill it at a random moment; the step that it had reached, None where none.

    Mostly after its first step, so that most kills fall into a step or a save, now and then while it starts.
    """
    metrics, lock = run / "metrics.jsonl", run / ".lock"
    watched = metrics if chance.random() < 0.8 else lock
    before, deadline = _stamp(watched), time.monotonic() + 120
    process = start(run)
    try:
        while process.running() and time.monotonic() < deadline and _stamp(watched) in (before, None):
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.6))
        alive = process.running()
    finally:
        process.kill(chance)
    lines = metrics.read_bytes().splitlines() if metrics.is_file() else []
    return len(lines) - 1 if alive and lines else None


def _finish(process: Training) -> None:
    while process.running():
        time.sleep(0.01)
    assert set(process.codes.values()) == {0}, process.log.read_text()


class Training:
    """``flowprior train --resume`` in processes of its own, forked so that they need not import torch again.

    Args:
        run: folder of the run.
        steps: of the training.
        processes: that train together, in the environment that ``torchrun`` would give them.
    """

    def __init__(self, run: Path, steps: int, processes: int) -> None:
        values = [f"training.{key}={value}" for key, value in SETTINGS.items()]
        given = [part for value in values for part in ("--set", value)]
        arguments = ["train", "--out", str(run), "--resume", *OPTIONS, "--steps", str(steps), *given]
        self.log = run.parent / LOG
        self.codes: dict[int, int] = {}
        self._numbers: list[int] = []
        port = _free_port() if processes > 1 else 0
        for rank in range(processes):
            number = os.fork()
            if number == 0:
                _call(
                    arguments, self.log if rank == 0 else run.parent / f"{rank}-{LOG}", rank, processes, port
                )
            self._numbers.append(number)

    def running(self) -> bool:
        """Whether one of them has not ended yet."""
        for number in set(self._numbers) - set(self.codes):
            ended, status = os.waitpid(number, os.WNOHANG)
            if ended:
                self.codes[number] = os.waitstatus_to_exitcode(status)
        return len(self.codes) < len(self._numbers)

    def kill(self, chance: random.Random) -> None:
        """End one at once, wherever it is, and the others a little later, as who waits in vain is ended."""
        for number in chance.sample(self._numbers, len(self._numbers)):
            if self.running() and number not in self.codes:
                os.kill(number, signal.SIGKILL)
                os.waitpid(number, 0)
                self.codes[number] = -signal.SIGKILL
                time.sleep(chance.uniform(0, 0.3) if len(self._numbers) > 1 else 0)


def _free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def _call(arguments: list[str], log: Path, rank: int, processes: int, port: int) -> NoReturn:
    """Run the command line in this process and end it, without coming back to what forked it."""
    code = 1
    if processes > 1:
        numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        os.environ.update({name: str(number) for name, number in numbers.items()})
        os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
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


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "kills"), [(1, 6), (2, 3)])
def test_kills_at_random_moments(processes: int, kills: int, tmp_path: Path) -> None:
    result = kill_often(tmp_path, kills, seed=1, steps=80, processes=processes)
    assert result["in_training"]
    assert result["leftovers_at_the_end"] == []
    assert result["equal"]
