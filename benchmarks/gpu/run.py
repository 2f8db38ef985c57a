"""Runs steps until the time is used up: each in a process of its own, or all in this one."""

from __future__ import annotations

import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.gpu.command import run_command
from benchmarks.gpu.record import Outcome, Record
from benchmarks.gpu.steps import Job, Step, StepError

Launch = Callable[[Step, float, Callable[[dict[str, Any]], None]], Outcome]
"""(step, seconds it may take, what takes the values found so far) -> how it ended."""
Say = Callable[[str], None]
ERROR_LINES = 12


def run_all(steps: Iterable[Step], record: Record, launch: Launch, until: float, say: Say) -> None:
    """Run the steps in their order, leaving each one's result in the record at once.

    Args:
        steps: in the order of their worth.
        record: of the run.
        launch: :func:`apart` or :func:`inside`.
        until: when all has to be done, by ``time.monotonic``. Later steps have less time, or none; only in a
            rehearsal, on a machine that may be busy, a single step may take all of it.
        say: takes one line for each thing that happens.
    """
    for step in steps:
        left = until - time.monotonic()
        if left < step.least:
            record.skip(step.name, f"{max(left, 0):.0f} s were left, and it needs {step.least:.0f} s")
        else:
            limit = left if record.rehearsal else min(left, step.most)
            _run_one(step, record, launch, limit, say)
        ended = record.steps[step.name]
        say(f"{step.name}: {ended['status']} after {ended['seconds']:.1f} s")
        if ended["error"]:
            say(str(ended["error"]))


def _run_one(step: Step, record: Record, launch: Launch, limit: float, say: Say) -> None:
    begun = time.monotonic()
    say(f"{step.name}: {step.does} At most {limit:.0f} s. {step.runs}")
    record.begin(step.name)

    def partly(values: dict[str, Any]) -> None:
        record.partly(step.name, values, time.monotonic() - begun)

    outcome = launch(step, limit, partly)
    record.end(step.name, outcome, time.monotonic() - begun)


def execute(step: Step, job: Job) -> Outcome:
    """Run a step here; whatever it raises is its error, and what it reported before it stays."""
    found: dict[str, Any] = {}

    def report(values: dict[str, Any]) -> None:
        found.update(values)
        job.report(dict(found))

    try:
        report(step.load()(Job(job.device, job.until, report)))
    except StepError as error:
        return Outcome(found, str(error))
    except Exception:
        return Outcome(found, _end(traceback.format_exc()))
    return Outcome(found)


def inside(step: Step, limit: float, partly: Callable[[dict[str, Any]], None]) -> Outcome:
    """Rehearse a step in this process, on the CPU."""
    return execute(step, Job("cpu", time.monotonic() + limit, partly))


def apart(step: Step, limit: float, partly: Callable[[dict[str, Any]], None]) -> Outcome:
    """Run a step on the card in a process of its own: an error of the device stays in it, and a hang ends."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        words = [sys.executable, "-m", "benchmarks.gpu.child", step.name, step.function]
        found: dict[str, Any] = {}

        def watch() -> None:
            if report.exists():
                said = json.loads(report.read_text(encoding="utf-8"))
                if said != found:
                    found.update(said)
                    partly(said["values"])

        finished = run_command([*words, str(report), f"{limit}"], limit, watch=watch)
        values = found.get("values", {})
        if found.get("ended"):
            return Outcome(values, found["error"])
        reason = f"cut at its limit of {limit:.0f} s" if finished.cut else f"ended with {finished.code}"
        return Outcome(values, _end(f"{finished.output}\n{reason}"))


def _end(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-ERROR_LINES:])
