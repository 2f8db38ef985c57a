"""Checkpoints: RUN/checkpoints/step-000500 with everything a bit-for-bit resume needs.

``flow.json`` and ``weights.safetensors`` are the flow with averaged weights, as ``Flow.load`` reads them;
``model.safetensors`` holds the raw weights; ``training.pt`` the optimiser, the number of averaged steps,
the running means and the step, loaded with ``weights_only``. The learning rate and every random number
follow from the step.
"""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from flowprior.errors import CheckpointError
from flowprior.flow import Flow
from flowprior.storage import load_state, load_tensors, save_state, save_tensors, write_directory
from flowprior.training.writing import writing

_NAME = re.compile(r"step-(\d+)")


def save_checkpoint(
    folder: Path, step: int, flow: Flow, weights: dict[str, Tensor], training: dict[str, Any], keep: int
) -> Path:
    """Write ``folder/step-XXXXXX`` in one move, then remove all but the newest ``keep``.

    Args:
        folder: RUN/checkpoints.
        step: steps done.
        flow: with averaged weights.
        weights: raw weights of the model.
        training: tensors and plain values only.
        keep: how many checkpoints stay.

    Raises:
        CheckpointError: the disk is full or cannot be written; earlier checkpoints are untouched.
    """
    final = folder / f"step-{step:06d}"
    with writing(final), write_directory(final) as temporary:
        flow.save(temporary)
        save_tensors(temporary / "model.safetensors", weights, {"step": str(step)})
        save_state(temporary / "training.pt", {**training, "step": step})
    # A later one can only be one that a resume could not read: it counts for nothing.
    for old in [path for number, path in list_checkpoints(folder) if number <= step][:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def list_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """(step, directory) of every checkpoint in ``folder``, oldest first."""
    found = [(match, path) for path in folder.glob("step-*") if (match := _NAME.fullmatch(path.name))]
    return sorted((int(match[1]), path) for match, path in found if path.is_dir())


def remove_leftovers(folder: Path) -> None:
    """Remove the half-written checkpoints of a process that was killed while it saved."""
    for path in folder.glob(".step-*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


def load_latest(folder: Path, load: Callable[[Path], None]) -> Path | None:
    """Call ``load`` on the newest checkpoint that it can read, and return that; None where there is none.

    An unreadable one is skipped with a warning.

    Raises:
        CheckpointError: there are checkpoints, but none can be read.
    """
    broken: list[str] = []
    for _, path in reversed(list_checkpoints(folder)):
        try:
            load(path)
        except CheckpointError as error:
            broken.append(f"{path.name}: {error}")
            warnings.warn(f"checkpoint {path} is skipped: {error}", RuntimeWarning, stacklevel=3)
            continue
        return path
    if broken:
        raise CheckpointError(
            f"no checkpoint in {folder} can be read ({'; '.join(broken)}); remove the run and train again"
        )
    return None


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """(flow tensors, raw weights, training state) of one checkpoint.

    Raises:
        CheckpointError: a file is missing, truncated, corrupted or holds pickled objects.
    """
    flow, _ = load_tensors(path / "weights.safetensors")
    weights, _ = load_tensors(path / "model.safetensors")
    return flow, weights, load_state(path / "training.pt")
