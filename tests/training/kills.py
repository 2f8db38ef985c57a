"""SIGKILL at random moments of a small training that saves at every step, also while it saves.

    python -m tests.training.kills --kills 60

After each kill the training is started again with ``--resume``; after the last one it runs to its end.
Nothing may be left over then, and the files of the flow have to be those of a run that nobody disturbed,
byte for byte.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from flowprior.storage import is_leftover

STEPS = 600
OPTIONS = [
    *("--data", "eight-modes:n=200", "--prior", "gmm:components=2", "--coupling", "condot"),
    *("--model", "mlp:width=16,depth=1", "--steps", str(STEPS)),
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
    process = subprocess.Popen(_command(run, steps), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics, lock = run / "metrics.jsonl", run / ".lock"
    watched = metrics if chance.random() < 0.8 else lock
    before, deadline = _stamp(watched), time.monotonic() + 120
    try:
        while process.poll() is None and time.monotonic() < deadline and _stamp(watched) in (before, None):
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.25))
        alive = process.poll() is None
    finally:
        process.kill()
        process.wait()
    lines = metrics.read_bytes().splitlines() if metrics.is_file() else []
    return len(lines) - 1 if alive and lines else None


def _finish(run: Path, steps: int) -> None:
    subprocess.run(_command(run, steps), check=True, capture_output=True)


def _command(run: Path, steps: int) -> list[str]:
    settings = [part for key, value in SETTINGS.items() for part in ("--set", f"training.{key}={value}")]
    options = [*OPTIONS[:-1], str(steps)]
    return [sys.executable, "-m", "flowprior", "train", "--out", str(run), "--resume", *options, *settings]


def _flow(run: Path) -> dict[str, bytes]:
    """The files of the saved flow, by name; its description without the commit, which may change."""
    files = {path.name: path.read_bytes() for path in (run / "flow").iterdir()}
    description = json.loads(files["flow.json"])
    del description["digest"], description["metadata"]["commit"]
    return {**files, "flow.json": json.dumps(description).encode()}


def _stamp(path: Path) -> tuple[int, int] | None:
    """Size and time of a file that is not empty."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if status.st_size else None


def main() -> None:
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
    main()
