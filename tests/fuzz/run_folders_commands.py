"""Some cases once more as processes of the command line: ``sample``, ``evaluate`` or ``train --resume``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import tomllib
from pathlib import Path

import numpy as np

from tests.fuzz.run_folders_cases import Verdict, badly_worded
from tests.fuzz.run_folders_memory import BOUND
from tests.fuzz.run_folders_roads import (
    EVALUATE,
    Exit,
    Outcome,
    Refused,
    check_exit,
    digest,
    saved_weights,
    without_timings,
)
from tests.fuzz.run_folders_worker import Here, Worker, WorkerDied

COMMANDS = ("sample", "evaluate", "resume")
PROCESS_SECONDS = 600.0
"""For the unmutated run: a process imports torch first, which takes minutes where the machine is busy."""


def command_of(number: int) -> str:
    """The command that case ``number`` is run through."""
    return COMMANDS[number // len(COMMANDS) % len(COMMANDS)]


def run_process(
    command: str, folder: Path, out: Path, worker: Worker | Here, seconds: float = PROCESS_SECONDS
) -> Outcome:
    """Run a command on a run folder as a process of its own, and say what came of it."""
    arguments = {
        "sample": ["sample", str(folder), "--cond", "all", "--count", "2", "--nfe", "2", "--out", str(out)],
        "evaluate": ["evaluate", str(folder), *EVALUATE],
        "resume": ["train", "--out", str(folder), "--resume", "--json"],
    }[command]
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "flowprior", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=said,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        try:
            code, grown = _wait(process, seconds)
        except subprocess.TimeoutExpired:
            return Outcome(command, "hang", f"not done after {seconds:g} s")
        printed.seek(0)
        said.seek(0)
        texts = printed.read().decode(), said.read().decode(errors="replace")
    try:
        check_exit(code, texts[1])
        value = _result(command, texts[0], folder, out, worker)
    except Refused as error:
        return Outcome(command, "refused", str(error), grown=grown)
    except (Exit, ValueError, RuntimeError, WorkerDied) as error:
        return Outcome(command, "exit", str(error), grown=grown)
    return Outcome(command, "result", value, grown=grown)


def judge_process(outcome: Outcome, plain: Outcome, chosen: bool) -> Verdict:
    """The verdict over a process; ``chosen`` where the configuration asks for another result, as it may."""
    name = f"process {outcome.road}"
    if outcome.grown > plain.grown + BOUND:
        return Verdict(name, "memory", f"{outcome.grown:.0f} MiB, unmutated {plain.grown:.0f}")
    if outcome.state == "refused":
        return Verdict(name, "wording" if badly_worded(outcome.value) else "refused", outcome.value)
    if outcome.state == "result" and (chosen or outcome.value == plain.value):
        return Verdict(name, "same", "")
    kind = "different" if outcome.state == "result" else outcome.state
    return Verdict(name, kind, outcome.value[:300])


def is_choice(mutated: Path, plain: Path) -> bool:
    """Whether a configuration differs in nothing but what a resumed run may change, such as its steps."""
    from flowprior.training.config import MAY_CHANGE

    if not mutated.is_file() or mutated.stat().st_size > 1 << 20:
        return False
    try:
        before, after = (_flat(tomllib.loads(path.read_text("utf-8"))) for path in (plain, mutated))
    except (OSError, ValueError, RecursionError):
        return False
    return all(before.get(key) == after.get(key) for key in (before.keys() | after.keys()) - MAY_CHANGE)


def _flat(tree: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _result(command: str, printed: str, folder: Path, out: Path, worker: Worker | Here) -> str:
    if command == "sample":
        with np.load(out, allow_pickle=False) as arrays:
            return digest({name: (a.shape, str(a.dtype), a.tobytes()) for name, a in arrays.items()})
    if command == "evaluate":
        return without_timings(printed)
    json.loads(printed)
    return worker.call(saved_weights, folder)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> tuple[int, float]:
    """Exit code and largest resident set in MiB; a process that does not end is killed."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
    finally:
        late = not timer.is_alive()
        timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    if late:
        raise subprocess.TimeoutExpired(process.args, seconds)
    return process.returncode, usage.ru_maxrss / 1024
