"""One command for a machine with a CUDA card, nvcc and no network: ``python -m benchmarks.gpu``.

It builds for the card, checks, times, profiles and trains, in under nine minutes, and leaves one JSON file.
Where there is no card it says what each step would run, and rehearses what the CPU can at the smallest size.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.gpu.command import ROOT
from benchmarks.gpu.machine import ask
from benchmarks.gpu.record import Record, file_name
from benchmarks.gpu.run import apart, inside, run_all
from benchmarks.gpu.steps import BUNDLE, SITE, STEPS

RESULTS = ROOT / "benchmarks" / "results" / "gpu"
REHEARSALS = ROOT / "build"
MINUTES = 9.0
RESERVE = 20.0
"""Seconds of these for what comes after the last step."""


def main(words: list[str] | None = None) -> int:
    """Run or rehearse the steps; 1 where one of them failed."""
    given = parse(words)
    until = time.monotonic() + given.minutes * 60 - RESERVE
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what runs is ended on the way out
    surroundings()
    machine = ask()
    rehearsal = given.rehearse or machine["card"] is None
    about = {
        "card": None if rehearsal else machine["card"],
        "device": "cpu" if rehearsal else "cuda",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "minutes": given.minutes,
        "machine": machine,
    }
    folder = given.out or (REHEARSALS if rehearsal else RESULTS)
    steps = [step for step in STEPS if not given.only or step.name in given.only]
    record = Record(folder / file_name(about["card"]), about, steps, rehearsal)
    say(introduction(machine, rehearsal, record.path))
    run_all(steps, record, inside if rehearsal else apart, until, say)
    say(f"{record.path}: {conclusion(record)}")
    return 1 if record.failed else 0


def parse(words: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=(__doc__ or "").split("\n")[0]
    )
    out = Path(os.environ["OUT"]) if os.environ.get("OUT") else None
    parser.add_argument(
        "--out", type=Path, default=out, help="folder of the JSON; default: $OUT, or benchmarks/results/gpu"
    )
    parser.add_argument("--minutes", type=float, default=MINUTES, help="that all may take (%(default)g)")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, even where there is a card")
    names = [step.name for step in STEPS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="STEP", help=f"of {', '.join(names)}")
    return parser.parse_args(words)


def surroundings() -> None:
    """Let this process and those of the steps find the repository, and what the bundle brings."""
    paths = [str(ROOT), str(ROOT / SITE), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    data = ROOT / BUNDLE / "data"
    if data.is_dir():
        os.environ.setdefault("FLOWPRIOR_DATA", str(data))


def introduction(machine: dict[str, object], rehearsal: bool, path: Path) -> str:
    """What is about to happen."""
    if not rehearsal:
        return (
            f"{machine['card']}, torch {machine['torch']}, CUDA {machine['cuda']}: the results go into {path}"
        )
    why = machine.get("no_card") or "asked for"
    return f"A rehearsal on the CPU ({why}): each step says what it would run; {path}"


def conclusion(record: Record) -> str:
    """How many steps ended in which way."""
    ends = [step["status"] for step in record.steps.values()]
    return ", ".join(f"{ends.count(status)} {status}" for status in dict.fromkeys(ends))


def say(line: str) -> None:
    """One line on stderr."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
