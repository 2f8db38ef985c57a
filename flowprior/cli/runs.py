"""Find the flow of a run, and the data that it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flowprior.errors import CheckpointError, OptionError

if TYPE_CHECKING:
    from flowprior.flow import Flow
    from flowprior.training import RunDirectory


def load_run(path: Path, device: str) -> Flow:
    """The flow of a run directory (the finished one, else its newest checkpoint) or of a saved flow.

    Raises:
        CheckpointError: there is none, or it cannot be read.
        OptionError: no such device.
    """
    from flowprior.flow import Flow
    from flowprior.training.components import resolve_device

    return Flow.load(_find(path), device=resolve_device(device))


def data_spec(flow: Flow, data: str | None) -> str:
    """``data`` if it is given, else the data set that the flow was trained on.

    Raises:
        OptionError: neither is known.
    """
    spec = data if data is not None else flow.metadata.get("config", {}).get("data")
    if spec is None:
        raise OptionError("this flow does not say which data it was trained on; pass --data")
    return spec


def _find(path: Path) -> Path:
    from flowprior.training import RunDirectory

    try:
        return _folder_of(RunDirectory(path))
    except (OSError, ValueError) as error:  # too long a name, or one with a NUL
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} cannot be a run ({error}); pass the directory of one") from error


def _folder_of(run: RunDirectory) -> Path:
    from flowprior.training import list_checkpoints

    path = run.path
    checkpoints = [folder for _, folder in list_checkpoints(run.checkpoints)]
    for folder in (run.flow, path, *reversed(checkpoints)):
        if (folder / "flow.json").is_file():
            return folder
    if not path.exists():
        raise CheckpointError(f"no run {path}; train one with: flowprior train --out {path}")
    raise CheckpointError(f"{path} holds neither a run nor a flow; pass the directory given to train --out")
