"""Take a run out of its folder, for another one to be trained there: what runs write, and nothing else."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from flowprior.errors import CheckpointError
from flowprior.flow.card import remove_card
from flowprior.storage import is_leftover, remove_files
from flowprior.training.checkpoints import list_checkpoints, remove_checkpoint, remove_unfinished
from flowprior.training.run import RunDirectory

PICTURE = re.compile(r"step-\d{6,}\.png")


def clear_run(run: RunDirectory) -> None:
    """Remove the flow, checkpoints, pictures, metrics and configuration of a run.

    Only for the holder of the run's lock. The configuration goes last: a process that is killed before leaves
    a folder that still counts as a run. What somebody else put there stays, and so do evaluations, which are
    bound to the weights that they are of.

    Raises:
        CheckpointError: a checkpoint or the flow cannot be removed, or a folder is a link to another place.
    """
    for folder in (run.flow, run.checkpoints, run.samples):
        if folder.is_symlink():
            raise CheckpointError(
                f"train: {folder} is a link to another place, whose files are not removed; choose another "
                "directory"
            )
    remove_card(run.flow)
    remove_checkpoint(run.flow)
    remove_unfinished(run.checkpoints)
    for _, checkpoint in list_checkpoints(run.checkpoints):
        remove_checkpoint(checkpoint)
    if run.samples.is_dir():
        remove_files(path for path in run.samples.iterdir() if _is_picture(path))
    for folder in (run.samples, run.checkpoints):
        with suppress(OSError):
            folder.rmdir()
    if run.flow.exists() or list_checkpoints(run.checkpoints):
        raise CheckpointError(
            f"train: the run in {run.path} cannot be replaced: some of its files cannot be removed, or "
            "there are others beside them; choose another directory"
        )
    remove_files([run.metrics, run.info, run.config])


def _is_picture(path: Path) -> bool:
    return bool(PICTURE.fullmatch(path.name)) or is_leftover(path)
