"""The steps of a run, in the order of their worth, and what a step is given."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

Values = dict[str, Any]
SITE = Path("build/gpu-site")
"""Where what the bundle brings is installed, below the repository."""
BUNDLE = Path("build/gpu-bundle")
"""Where ``make gpu-bundle`` packs, below the repository."""


class StepError(Exception):
    """What a step was to show does not hold; the message is the whole of what is to be said."""


@dataclass(frozen=True)
class Job:
    """What a step is given.

    Attributes:
        device: ``"cuda"``, or ``"cpu"`` in a rehearsal, which takes the smallest sizes.
        until: when the step has to be done, by ``time.monotonic``.
        report: takes the values found so far, so that a step that is cut leaves them.
    """

    device: str
    until: float
    report: Callable[[Values], None] = field(default=lambda _: None)

    @property
    def rehearsal(self) -> bool:
        """Whether there is no card."""
        return self.device == "cpu"

    @property
    def left(self) -> float:
        """Seconds until the step has to be done."""
        return self.until - time.monotonic()


@dataclass(frozen=True)
class Step:
    """One thing to find out.

    Attributes:
        name: as in the file and after ``--only``.
        does: what it runs, in one sentence.
        runs: the command, or the function, that a card is wanted for.
        function: ``module:function``; it takes a :class:`Job` and returns its values.
        least: seconds without which it is not begun.
        most: seconds after which it is ended.
    """

    name: str
    does: str
    runs: str
    function: str
    least: float
    most: float

    def load(self) -> Callable[[Job], Values]:
        """The function; its module is imported only now."""
        module, name = self.function.split(":")
        return getattr(import_module(module), name)


STEPS = (
    Step(
        "packages",
        "Installs from the bundle what this machine lacks, and names what is missing.",
        f"pip install --no-index --no-deps --find-links {BUNDLE}/wheels --target {SITE} …",
        "benchmarks.gpu.packages:run",
        1,
        60,
    ),
    Step(
        "build",
        "Builds the extension for the card that it finds, and looks at registers and symbols.",
        "TORCH_CUDA_ARCH_LIST=… python -m csrc.build --variant cuda && python -m csrc.checks",
        "benchmarks.gpu.build:run",
        20,
        180,
    ),
    Step(
        "sanitizer",
        "Calls every operator at small sizes under compute-sanitizer: memory, shared memory, barriers.",
        "compute-sanitizer --tool memcheck|racecheck|synccheck python -m benchmarks.gpu.small_cases",
        "benchmarks.gpu.sanitizer:run",
        20,
        110,
    ),
    Step(
        "parity",
        "Compares every operator with its reference in float64, and runs torch.library.opcheck over it.",
        "pytest tests/native/test_cuda_device.py, without what the next step runs",
        "benchmarks.gpu.device_tests:run_parity",
        20,
        150,
    ),
    Step(
        "graphs",
        "Captures every operator in a CUDA graph and replays it, on side streams too, and never waits.",
        "pytest tests/native/test_cuda_device.py -k 'capture or stream or waits'",
        "benchmarks.gpu.device_tests:run_graphs",
        15,
        60,
    ),
    Step(
        "operators",
        "Times the operators beside torch and the peers; bytes over time as a share of a copy's rate.",
        "benchmarks.gpu.operators",
        "benchmarks.gpu.operators:run",
        20,
        110,
    ),
    Step(
        "profile",
        "Profiles a training step: shares of prior, coupling, path and loss, and how long the GPU idles.",
        "benchmarks.gpu.profile_step",
        "benchmarks.gpu.profile_step:run",
        20,
        60,
    ),
    Step(
        "training",
        "Trains the default and gaussian + condot on Fashion-MNIST for 2,000 steps, and evaluates both.",
        "benchmarks.gpu.train_default",
        "benchmarks.gpu.train_default:run",
        30,
        240,
    ),
)
