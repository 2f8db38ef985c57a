"""Where the flow of a path lies: in the folder itself, in a run's ``flow``, or in its newest checkpoint."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from flowprior.errors import CheckpointError
from flowprior.flow.description import DESCRIPTION
from flowprior.storage import read_json

FLOW, CHECKPOINTS, INFO = "flow", "checkpoints", "info.json"
STATUSES = ("running", "finished", "interrupted", "diverged", "failed")
_STEP = re.compile(r"step-(\d{1,18})")


@dataclass(frozen=True)
class Location:
    """A folder with a ``flow.json``, and what is to be said of it in one line where its run is unfinished."""

    folder: Path
    note: str | None = None


def find_flow(path: Path) -> Location:
    """The flow in ``path``, be it a saved flow or a run: its finished flow, else its newest checkpoint.

    Raises:
        CheckpointError: there is none, or no folder can have this name.
    """
    try:
        return _find(path)
    except (OSError, ValueError) as error:  # too long a name, or one with a NUL
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} cannot be a run ({error}); pass the directory of one") from error


def _find(path: Path) -> Location:
    if (path / DESCRIPTION).is_file():
        return Location(path)
    if (path / FLOW / DESCRIPTION).is_file():
        return Location(path / FLOW, _note(path, "the flow of its last finished training"))
    steps = step_folders(path / CHECKPOINTS)
    if steps:
        step, folder = steps[-1]
        note = _note(path, f"its newest checkpoint, of step {step},")
        return Location(folder, note or f"{path} has no finished flow: its newest checkpoint is used")
    if not path.exists():
        raise CheckpointError(
            f"no run {path}: {path / DESCRIPTION} is missing; pass a directory that Flow.save wrote, or "
            f"train one with: flowprior train --out {path}"
        )
    raise CheckpointError(
        f"{path} holds neither a run nor a flow: {path / DESCRIPTION} is missing; pass a directory that "
        "Flow.save wrote, or the one given to train --out"
    )


def step_folders(folder: Path) -> list[tuple[int, Path]]:
    """(step, directory) of everything in ``folder`` that is named like a checkpoint, oldest first."""
    found = [(match, path) for path in folder.glob("step-*") if (match := _STEP.fullmatch(path.name))]
    return sorted((int(match[1]), path) for match, path in found if path.is_dir())


def _note(run: Path, used: str) -> str | None:
    """What to say of a run that is not finished; None where it is, or says nothing of it."""
    try:
        info = read_json(run / INFO)
    except CheckpointError:
        return None
    status, step = info.get("status"), info.get("step")
    if status not in STATUSES or status == "finished":
        return None
    at = f" at step {step}" if type(step) is int and status != "running" else ""
    said = "still training, or was killed" if status == "running" else f"unfinished ({status}{at})"
    return f"the run {run} is {said}: {used} is used"
