"""compute-sanitizer over every operator at small sizes."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from benchmarks.gpu.command import Finished, run_command
from benchmarks.gpu.machine import nvcc
from benchmarks.gpu.steps import Job, StepError, Values

TOOLS = ("memcheck", "racecheck", "synccheck")
FOUND = 86
"""The exit status by which the sanitizer says that it found an error."""
PRECISE = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
"""Every tensor has memory of its own, so that what lies beside it is not another tensor's."""
LEAST = 10
"""Seconds without which another tool is not begun."""
SUMMARY = re.compile(r"^=+ ((?:ERROR|RACECHECK) SUMMARY: .*)$", re.MULTILINE)


def run(job: Job) -> Values:
    """The tools one after the other, each on the same calls.

    In a rehearsal the calls are made without a sanitizer, on the CPU, by whatever operators serve it.

    Raises:
        StepError: a tool found something, did not run, or was not reached.
    """
    if job.rehearsal:
        return {"calls": _rehearse()}
    program = sanitizer()
    values: Values = {}
    for tool in TOOLS:
        if job.left < LEAST:
            values[tool] = "not reached"
        else:
            words = [program, "--tool", tool, "--error-exitcode", str(FOUND), sys.executable]
            finished = run_command([*words, "-m", "benchmarks.gpu.small_cases"], job.left, PRECISE)
            values[tool] = verdict(finished)
        job.report(values)
    if bad := [f"{tool}: {said}" for tool, said in values.items() if not is_clean(said)]:
        raise StepError("\n".join(bad))
    return values


def sanitizer() -> str:
    """The program, on ``PATH`` or beside nvcc.

    Raises:
        StepError: there is none.
    """
    beside = Path(nvcc()).parent / "compute-sanitizer"
    found = shutil.which("compute-sanitizer") or (str(beside) if os.access(beside, os.X_OK) else None)
    if found is None:
        raise StepError(f"compute-sanitizer is neither on PATH nor at {beside}")
    return found


def verdict(finished: Finished) -> str:
    """The summary of a run of one tool, or the end of what it said where there is none."""
    if finished.cut:
        return f"cut at its limit: {finished.end(2)}"
    found = SUMMARY.search(finished.output)
    if found and finished.code in (0, FOUND):
        return found[1]
    return f"ended with {finished.code}: {finished.end(6)}"


def is_clean(said: str) -> bool:
    """Whether a verdict is a summary without errors, hazards or warnings."""
    is_summary = said.startswith(("ERROR SUMMARY", "RACECHECK SUMMARY"))
    return is_summary and not re.search(r"[1-9]\d* (error|hazard|warning)", said)


def _rehearse() -> dict[str, int] | str:
    from benchmarks.gpu.small_cases import call_all
    from flowprior.ops.backend import backend, native_devices

    return call_all("cpu") if "cpu" in native_devices() else str(backend())
