"""One long training of each setting of a grid, killed by SIGKILL at random moments and started again.

    python -m benchmarks.studies.long_training runs/long-training --kills 5

The training goes on from its last checkpoint, the study from its last cell; a second call of the command
does the same after the machine itself was stopped. What was killed when stands in OUT/pieces-SETTING.json,
and at the end in the file that the page of results reads.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.studies import RESULTS, STUDIES
from benchmarks.studies.long_curves import PIECES
from flowprior.storage import write_text
from flowprior.study.grid import load_grid
from flowprior.training.metrics_file import read_metrics
from flowprior.training.run_info import RunInfo

KILLED = -signal.SIGKILL
GRID = STUDIES / "long_training.toml"
MINUTES = (6.0, 18.0)
"""Between two kills: at least, and at most."""


def train_in_pieces(out: Path, label: str, shard: str, kills: int, seed: int) -> None:
    """Run one setting of the grid and kill it ``kills`` times; then let it end.

    Args:
        out: folder of the study.
        label: of the setting.
        shard: the setting's place among them, ``"0/2"``.
        kills: how many; one that would come after the end does not come.
        seed: of the moments.

    Raises:
        RuntimeError: the study ended with an error.
    """
    chance, pieces = random.Random(f"{label} {seed}"), _pieces(out, label)
    command = [sys.executable, "-m", "flowprior", "compare", str(GRID), "--out", str(out), "--shard", shard]
    code: int | None = KILLED
    while code == KILLED:
        started = _now()
        with (out / f"log-{label}.txt").open("a") as log:
            running = subprocess.Popen(command, env=_one_thread(), stdout=log, stderr=log)
            code = _end(running, 60 * chance.uniform(*MINUTES) if len(pieces) < kills else None)
        pieces.append({"started": started, "ended": _now(), "code": code, "run": _run_of(out, label)})
        write_text(out / f"pieces-{label}.json", json.dumps(pieces, indent=1) + "\n")
    if code:
        raise RuntimeError(f"the study of {label} ended with {code}; {out}/log-{label}.txt says why")


def collect_pieces(out: Path, labels: Iterable[str]) -> None:
    """Write what was recorded of all settings where the page of results reads it."""
    found = {label: _pieces(out, label) for label in labels}
    write_text(RESULTS / PIECES, json.dumps(found, indent=1) + "\n")


def _pieces(out: Path, label: str) -> list[dict[str, Any]]:
    record = out / f"pieces-{label}.json"
    return json.loads(record.read_text()) if record.is_file() else []


def _end(running: subprocess.Popen[bytes], seconds: float | None) -> int:
    """The code that the process ends with, killed where it has not within so many seconds."""
    try:
        return running.wait(seconds)
    except subprocess.TimeoutExpired:
        running.kill()
        return running.wait()


def _run_of(out: Path, label: str) -> dict[str, Any]:
    """Where the setting's training stands: its last logged step, and the checkpoints it was taken up from."""
    prior = load_grid(GRID).variants[label]["prior"]
    run = next((folder / "run" for folder in (out / "cells").glob(f"{prior}+*")), out)
    info = RunInfo(run / "info.json").read()
    lines = read_metrics(run / "metrics.jsonl") if (run / "metrics.jsonl").is_file() else []
    resumed = [one["step"] for one in info.get("resumed", [])]
    return {"status": info.get("status"), "logged": lines[-1]["step"] if lines else 0, "resumed": resumed}


def _one_thread() -> Mapping[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def main() -> None:
    """Train every setting at the same time, a process each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    labels, lanes = list(load_grid(GRID).variants), []
    with ThreadPoolExecutor(len(labels)) as pool:
        for place, label in enumerate(labels):
            shard = f"{place}/{len(labels)}"
            lanes.append(pool.submit(train_in_pieces, asked.out, label, shard, asked.kills, asked.seed))
            time.sleep(5.0)  # both write plan and grid of the folder
    for lane in lanes:
        lane.result()
    collect_pieces(asked.out, labels)


if __name__ == "__main__":
    main()
