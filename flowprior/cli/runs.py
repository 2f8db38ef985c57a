"""Find the flow of a run, and the data that it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flowprior.errors import OptionError

if TYPE_CHECKING:
    from flowprior.flow import Flow


def load_run(path: Path, device: str) -> Flow:
    """The flow of a run directory (the finished one, else its newest checkpoint) or of a saved flow.

    Where the run is unfinished, a warning of one line says so.

    Raises:
        CheckpointError: there is none, or it cannot be read.
        OptionError: no such device.
    """
    from flowprior.flow import Flow
    from flowprior.training.components import resolve_device

    return Flow.load(path, device=resolve_device(device))


def data_spec(flow: Flow, data: str | None) -> str:
    """``data`` if it is given, else the data set that the flow was trained on.

    Raises:
        OptionError: neither is known.
    """
    config = flow.metadata.get("config")
    trained_on = config.get("data") if isinstance(config, dict) else None
    spec = data if data is not None else trained_on
    if not isinstance(spec, str):
        raise OptionError("this flow does not say which data it was trained on; pass --data")
    return spec
