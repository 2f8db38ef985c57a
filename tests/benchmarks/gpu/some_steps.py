"""Steps that end in every way, for tests: none of them needs torch."""

from __future__ import annotations

import os
import time

from benchmarks.gpu.steps import Job, Step, StepError, Values


def well(job: Job) -> Values:
    job.report({"first": 1})
    return {"second": 2}


def refuses(job: Job) -> Values:
    job.report({"found": 3})
    raise StepError("two kernels disagree")


def breaks(job: Job) -> Values:
    job.report({"found": 3})
    raise ValueError("nobody expected this")


def hangs(job: Job) -> Values:
    job.report({"pid": os.getpid()})
    time.sleep(600)
    return {}


def dies(job: Job) -> Values:
    job.report({"found": 3})
    os.abort()


def step(name: str, least: float = 0, most: float = 60) -> Step:
    return Step(name, f"It {name}.", f"run {name}", f"{__name__}:{name}", least, most)
