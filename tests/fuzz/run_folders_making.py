"""Tiny run folders to mutate: one finished run, one that a signal interrupted, one of another seed.

Data, network and prior are as small as they can be while every kind of file exists: configuration, record,
log, flow, several checkpoints, pictures and stored evaluations. Files are found by walking, never by name.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.fuzz.run_folders_roads import SETTINGS, Outcome, take_road

FINISHED, INTERRUPTED, OTHER = "finished", "interrupted", "other"
STOP_AT = 8
"""The step in which the interrupted run is sent a signal: neither the first nor one that saves by itself."""


@dataclass(frozen=True)
class RunFile:
    """One file of a run folder.

    Attributes:
        run: which run.
        name: path below the run folder.
    """

    run: str
    name: str

    @property
    def kind(self) -> str:
        """Run and path without numbers and digests, so that the files of one role share it."""
        return f"{self.run}/{role(self.name)}"


def make_runs(folder: Path) -> None:
    """Train the three runs below ``folder`` and evaluate those that finished."""
    for name, seed in ((FINISHED, 0), (OTHER, 1)):
        _expect_result(_train(folder / name, seed))
        _expect_result(take_road("evaluate", folder / name))
    with _signal_at_step(STOP_AT):
        stopped = _train(folder / INTERRUPTED, 0)
    if stopped.state == "result":
        raise RuntimeError("the run that should have been interrupted ran to its end")


def list_files(folder: Path) -> list[RunFile]:
    """Every file of the finished and the interrupted run, in a fixed order."""
    return [RunFile(run, name) for run in (FINISHED, INTERRUPTED) for name in walk(folder / run)]


def walk(folder: Path) -> list[str]:
    """Paths of all files below ``folder``, relative to it, sorted."""
    found = [Path(base, name) for base, _, names in os.walk(folder) for name in names]
    return sorted(str(path.relative_to(folder)) for path in found)


def role(name: str) -> str:
    """``name`` with digests as H and numbers as N: ``checkpoints/step-N/flow.json``."""
    return re.sub(r"\d+", "N", re.sub(r"[0-9a-f]{8,}", "H", name))


def flow_folders(folder: Path) -> list[str]:
    """Folders at or below ``folder`` that ``Flow.load`` takes, relative to it; the outermost first."""
    bases = sorted(Path(base) for base, _, _ in os.walk(folder))
    return [str(base.relative_to(folder)) for base in bases if take_road("sample", base).state == "result"]


def _train(out: Path, seed: int) -> Outcome:
    from flowprior.training import train

    try:
        train(out=out, seed=seed, **SETTINGS)
    except SystemExit as stop:
        return Outcome("train", "exit", f"stopped with {stop.code}")
    return Outcome("train", "result", "")


def _expect_result(outcome: Outcome) -> None:
    if outcome.state != "result":
        raise RuntimeError(f"the unmutated run could not be made: {outcome}")


@contextmanager
def _signal_at_step(step: int) -> Iterator[None]:
    """Send this process SIGTERM while the network is trained for the ``step``-th time."""
    seen = 0

    def count(module: nn.Module, _: Any) -> None:
        nonlocal seen
        if type(module).__name__ == "MLP" and module.training and torch.is_grad_enabled():
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGTERM)

    handle = nn.modules.module.register_module_forward_pre_hook(count)
    try:
        with suppress(SystemExit):
            yield
    finally:
        handle.remove()
