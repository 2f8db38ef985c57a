"""RUN/info.json: what ran where, on which versions, and what was measured before the first step."""

from __future__ import annotations

import functools
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from flowprior.errors import CheckpointError
from flowprior.flow import Flow
from flowprior.flow.reading import FLOW_DIGEST, digest_of
from flowprior.registry import package_version
from flowprior.storage import read_json, write_json
from flowprior.training.run import RunDirectory


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Versions, commits, device, threads and command of this process."""
    return {
        "version": package_version(),
        "commit": package_commit(),
        "working_directory_commit": git_commit(Path.cwd()),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "command": sys.argv,
    }


@functools.cache
def package_commit() -> str | None:
    """Commit of the checkout that flowprior runs from; None where it is installed."""
    tracked = _git(Path(__file__).parent, "ls-files", "--error-unmatch", Path(__file__).name)
    return git_commit(Path(__file__).parent) if tracked else None


def git_commit(folder: Path) -> str | None:
    """Commit of the checkout that holds ``folder``, with ``-dirty`` on changed files; None outside one."""
    return _git(folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


class RunInfo:
    """The file info.json; None as its path writes nothing.

    Keys: those of :func:`describe_machine`, ``started``, ``ended``, ``status`` (running, finished,
    interrupted, diverged or failed), ``step``, ``prior_fit_seconds``, the measures of the start,
    ``flow_digest`` of the flow that the run has saved, ``teacher`` where it is trained on the pairs of a
    flow, and ``resumed``: one record for each time the run was taken up again.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def start(self, device: torch.device, step: int, fit_seconds: float | None, processes: int = 1) -> None:
        """Note that a run starts, or goes on from ``step``."""
        machine = {**describe_machine(device), "processes": processes}
        values: dict[str, Any] = {"status": "running", "step": step}
        if step == 0:
            values |= {**machine, "started": now(), "prior_fit_seconds": fit_seconds, "resumed": []}
        else:
            before = self.read().get("resumed")
            records = before if isinstance(before, list) else []
            values["resumed"] = [*records, {"step": step, "started": now(), **machine}]
        self.update(**values)

    def end(self, step: int, status: str, best: tuple[int, float] | None = None) -> None:
        """Note how and when the run ended, and at which step the validation loss was lowest."""
        found = {} if best is None else {"best_step": best[0], "best_validation_loss": best[1]}
        self.update(status=status, step=step, ended=now(), **found)

    def read(self) -> dict[str, Any]:
        """The file as a dictionary; empty where it is missing or not what was written."""
        try:
            return read_json(self._path) if self._path else {}
        except CheckpointError:
            return {}

    def update(self, **values: Any) -> None:
        """Set some keys and keep the others; the file is replaced in one move."""
        if self._path is not None:
            write_json(self._path, {**self.read(), **values})


def save_run_flow(flow: Flow, run: RunDirectory) -> None:
    """Save the flow of a run, whose digest info.json then has.

    Whoever is killed in between leaves a flow that nothing is said of, as older versions do.

    Raises:
        CheckpointError: a file cannot be written.
    """
    info = RunInfo(run.info)
    info.update(**{FLOW_DIGEST: None})
    flow.save(run.flow)
    info.update(**{FLOW_DIGEST: digest_of(run.flow)})


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "cpu"


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
