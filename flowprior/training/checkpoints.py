"""Checkpoints: RUN/checkpoints/step-000500 with everything a bit-for-bit resume needs.

``flow.json`` and ``weights-DIGEST.safetensors`` are the flow with averaged weights, as ``Flow.load`` reads
them; ``model.safetensors`` holds the raw weights; ``training.pt`` the optimiser, the number of averaged
steps, the running means and the step, loaded with ``weights_only``. ``flow.json`` binds all three by their
digests. The learning rate and every random number follow from the step.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from flowprior.errors import CheckpointError
from flowprior.flow import Flow
from flowprior.flow.description import (
    DESCRIPTION,
    bindings_of,
    describe,
    plain_names,
    refuse_non_finite,
    tensors_of,
)
from flowprior.flow.files import is_flow_file, read_flow, step_folders, write_flow
from flowprior.storage.tensor_files import parse_state, parse_tensors, save_state, save_tensors
from flowprior.storage.writing import beside, is_leftover, remove_files, sync, writing

MODEL, STATE = "model.safetensors", "training.pt"
NAMES = (DESCRIPTION, MODEL, STATE)
KEYS = {"optimizer": dict, "averaged": int, "means": dict, "data": list, "step": int}


Checkpoint = tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor], dict[str, Any]]
"""The description, the tensors of the flow with averaged weights, the raw weights of the model, and the state
of the training: optimiser, averaged steps, running means, size of the data, step."""


def save_checkpoint(
    folder: Path,
    step: int,
    flow: Flow,
    weights: dict[str, Tensor],
    training: dict[str, Any],
    keep: int,
    best: int | None = None,
) -> Path:
    """Write ``folder/step-XXXXXX`` in one move, then remove all but those that are to be kept.

    Args:
        folder: RUN/checkpoints.
        step: the steps that are done.
        flow: the flow with averaged weights.
        weights: the raw weights of the model.
        training: tensors and plain values only.
        keep: the number of newest checkpoints that stay.
        best: the step of a further one that stays.

    Raises:
        CheckpointError: the disk is full or cannot be written; earlier checkpoints are untouched.
    """
    final = folder / f"step-{step:06d}"
    temporary = beside(final)
    try:
        with writing(final):
            temporary.mkdir(parents=True)
            files = {
                "model": (MODEL, lambda path: save_tensors(path, plain_names(weights), {"step": str(step)})),
                "training": (STATE, lambda path: save_state(path, training | {"step": step})),
            }
            write_flow(temporary, describe(flow), tensors_of(flow), files)
            if final.exists():
                remove_checkpoint(final)
            temporary.rename(final)
            sync(folder)
    finally:
        remove_checkpoint(temporary)
    # A later one can only be one that a resume could not read: it counts for nothing.
    for number, old in [found for found in list_checkpoints(folder) if found[0] <= step][:-keep]:
        if number != best:
            remove_checkpoint(old)
    return final


def list_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Return (step, directory) of every checkpoint in ``folder``, oldest first, without foreign folders."""
    held = [(step, path, list(path.iterdir())) for step, path in step_folders(folder)]
    return [(step, path) for step, path, files in held if not files or any(map(_is_own, files))]


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint's own files, and its folder where nothing of somebody else's is in it."""
    if path.is_dir():
        remove_files(file for file in path.iterdir() if _is_own(file))
        with suppress(OSError):
            path.rmdir()


def remove_unfinished(folder: Path) -> None:
    """Remove the checkpoints in ``folder`` that a killed save had not renamed; for the holder of the lock."""
    for path in filter(is_leftover, folder.glob(".step-*.tmp")):
        remove_checkpoint(path)


def read_checkpoint(path: Path) -> Checkpoint:
    """Return one checkpoint, whose files belong together.

    Raises:
        CheckpointError: a file is missing, truncated, corrupted, another one's, or holds pickled objects.
    """
    description, flow = read_flow(path)
    manifest, bound = path / DESCRIPTION, bindings_of(description)
    if not {"training", "model"} <= bound.keys():
        raise CheckpointError(f"{path} is a saved flow, no checkpoint; pass the directory of a run")
    training = parse_state(bound["training"].read(manifest), path / STATE)
    weights = parse_tensors(bound["model"].read(manifest), path / MODEL)[0]
    for key, kind in KEYS.items():
        if not isinstance(training.get(key), kind):
            raise CheckpointError(f"{path / STATE} is corrupted: no {key}; use another checkpoint")
    if path.name != f"step-{training['step']:06d}":
        raise CheckpointError(f"{path} was saved at step {training['step']}; give it its own name back")
    refuse_non_finite({**flow, **{f"model.{name}": value for name, value in weights.items()}}, str(path))
    return description, flow, weights, training


def _is_own(path: Path) -> bool:
    return path.is_file() and (path.name in NAMES or is_flow_file(path))
