"""One long training of each setting of a grid, killed by SIGKILL at random moments and started again.

    python -m benchmarks.studies.long_training runs/long-training --kills 5

The training goes on from its last checkpoint, the study from its last cell; a second call of the command
does the same after the machine itself was stopped. What was killed when stands in OUT/pieces-SETTING.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowprior.storage import write_text
from flowprior.study.grid import load_grid
from flowprior.training.run_info import RunInfo

GRID = Path("benchmarks/studies/long_training.toml")
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
    """
    chance, record = random.Random(f"{label} {seed}"), out / f"pieces-{label}.json"
    pieces: list[dict[str, Any]] = json.loads(record.read_text()) if record.is_file() else []
    command = [sys.executable, "-m", "flowprior", "compare", str(GRID), "--out", str(out), "--shard", shard]
    ended = False
    while not ended:
        started = _now()
        with (out / f"log-{label}.txt").open("a") as log:
            running = subprocess.Popen(command, env=_one_thread(), stdout=log, stderr=log)
            ended = _wait(running, 60 * chance.uniform(*MINUTES) if len(pieces) < kills else None)
            if not ended:
                running.kill()
            running.wait()
        pieces.append(
            {"started": started, "ended": _now(), "code": running.returncode, "run": _run_of(out, label)}
        )
        write_text(record, json.dumps(pieces, indent=1) + "\n")


def _wait(running: subprocess.Popen[bytes], seconds: float | None) -> bool:
    """Whether the process has ended within so many seconds."""
    try:
        running.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _run_of(out: Path, label: str) -> dict[str, Any]:
    """Where the setting's training stands: its last logged step, and the checkpoints it was taken up from."""
    prior = load_grid(GRID).variants[label]["prior"]
    for folder in (out / "cells").glob(f"{prior}+*"):
        info = RunInfo(folder / "run" / "info.json").read()
        lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
        last = json.loads(lines[-1])["step"] if lines else 0
        return {
            "status": info.get("status"),
            "logged": last,
            "resumed": [one["step"] for one in info["resumed"]],
        }
    return {}


def _one_thread() -> Mapping[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def main() -> None:
    """Train every setting at the same time, a process each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    labels = list(load_grid(GRID).variants)
    lanes = [
        threading.Thread(
            target=train_in_pieces, args=(asked.out, label, f"{place}/{len(labels)}", asked.kills, asked.seed)
        )
        for place, label in enumerate(labels)
    ]
    for lane in lanes:
        lane.start()
        time.sleep(5.0)  # both write plan and grid of the folder
    for lane in lanes:
        lane.join()


if __name__ == "__main__":
    main()
