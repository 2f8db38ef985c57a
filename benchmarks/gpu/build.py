"""The extension for the card that is there: built in place, and its objects looked at."""

from __future__ import annotations

import sys
import time

from benchmarks.gpu.command import run_command
from benchmarks.gpu.machine import nvcc
from benchmarks.gpu.steps import Job, StepError, Values
from csrc.toolchain import BuildError, find_compiler, find_ninja, find_pybind11, find_torch


def run(job: Job) -> Values:
    """Build, then check for spilled registers and weak symbols.

    In a rehearsal nothing is built: it looks for the tools, and says which of them it found.

    Raises:
        StepError: the build or a check failed.
    """
    if job.rehearsal:
        return {"tools": tools()}
    architecture = capability()
    begun = time.monotonic()
    words = [sys.executable, "-m", "csrc.build", "--variant", "cuda"]
    built = run_command(words, job.left, {"TORCH_CUDA_ARCH_LIST": architecture})
    values: Values = {"architecture": architecture, "seconds": round(time.monotonic() - begun, 1)}
    job.report(values)
    if built.code or built.cut:
        raise StepError(f"csrc.build did not build the extension for {architecture}: {built.end()}")
    checked = run_command([sys.executable, "-m", "csrc.checks"], job.left)
    values["checks"] = checked.end(4)
    job.report(values)
    if checked.code:
        raise StepError(f"csrc.checks: {checked.end()}")
    return values


def capability() -> str:
    """The compute capability of the first card, such as ``9.0``."""
    import torch

    return "{}.{}".format(*torch.cuda.get_device_capability(0))


def tools() -> Values:
    """Where each tool of a build is, or why it is not there."""
    found: Values = {"nvcc": nvcc()}
    finders = {"compiler": find_compiler, "ninja": find_ninja, "pybind11": find_pybind11, "torch": find_torch}
    for name, find in finders.items():
        try:
            found[name] = str(find())
        except BuildError as error:
            found[name] = str(error)
    return found
