"""The tests of tests/native that want a card, by pytest, counted line by line."""

from __future__ import annotations

import re
import sys
from collections import Counter
from importlib.util import find_spec

from benchmarks.gpu.command import Finished, run_command
from benchmarks.gpu.steps import Job, StepError, Values

TESTS = "tests/native/test_cuda_device.py"
GRAPHS = "capture or stream or waits"
ENDS = "(PASSED|FAILED|ERROR|SKIPPED)"
ALONE = re.compile(rf"^tests/.*? {ENDS}(?: \(.*\))?(?: +\[ *\d+%\])?\s*$")
BESIDE_OTHERS = re.compile(rf"^\[gw\d+\] \[ *\d+%\] {ENDS} tests/")
"""A line of one test, and the same where pytest-xdist runs several at a time."""
NAMED = re.compile(r"^(?:FAILED|ERROR) (tests/.+?)(?: - (.*))?$")
WORKERS = ["--numprocesses", "4", "--dist", "worksteal"]
SHOWN = 20


def run_parity(job: Job) -> Values:
    """Parity, loss, opcheck, refusals and sizes."""
    return run_tests(job, f"not ({GRAPHS})")


def run_graphs(job: Job) -> Values:
    """Capture and replay, streams, no waiting."""
    return run_tests(job, GRAPHS)


def run_tests(job: Job, chosen: str) -> Values:
    """Run the tests that ``chosen`` selects, and count how they ended.

    In a rehearsal all of them are skipped, for want of a card: that they are collected is what is seen.

    Raises:
        StepError: one failed, none passed on a card, or the time was up.
    """
    options = ["-vv", "-p", "no:cacheprovider", "-rfE", "--tb=line", "--color=no"]
    if not job.rehearsal and find_spec("xdist") is not None:
        options += WORKERS
    finished = run_command([sys.executable, "-m", "pytest", TESTS, "-k", chosen, *options], job.left)
    values = counted(finished)
    job.report(values)
    if problem := wrong(finished, values, job.rehearsal):
        raise StepError(problem)
    return values


def counted(finished: Finished) -> Values:
    """How many tests ended in which way, and the names of those that failed."""
    lines = finished.output.splitlines()
    found = [ALONE.match(line) or BESIDE_OTHERS.match(line) for line in lines]
    ends = Counter(match[1].lower() for match in found if match)
    names = [f"{named[1]}: {named[2] or ''}"[:200] for line in lines if (named := NAMED.match(line))]
    failed = ends["failed"] + ends["error"]
    return {"passed": ends["passed"], "failed": failed, "skipped": ends["skipped"], "names": names[:SHOWN]}


def wrong(finished: Finished, values: Values, rehearsal: bool) -> str | None:
    """What is wrong with a run of the tests; None where nothing is."""
    if finished.cut:
        return f"cut at its limit after {values['passed']} tests had passed: {finished.end(2)}"
    if values["failed"]:
        return f"{values['failed']} tests failed: " + "; ".join(values["names"][:3])
    if finished.code:
        return f"pytest ended with {finished.code}: {finished.end()}"
    if rehearsal:
        return None if values["skipped"] else f"no test was collected: {finished.end(4)}"
    return None if values["passed"] else f"no test passed: {finished.end(4)}"
