"""The engine that a process takes: of one, or of several that were started together."""

from __future__ import annotations

import torch

from flowprior.errors import OptionError, pip_install
from flowprior.processes.launched import process_count
from flowprior.training.engine import Engine


def make_engine(device: str, owner: str = "train") -> Engine:
    """The engine of this process: of one process, or of those that were started together.

    Args:
        device: as in ``training.device``; ``"cpu"`` talks through gloo.
        owner: who asks, for messages.

    Raises:
        OptionError: several processes without the extra ``scale``, or all on one GPU.
    """
    if process_count() == 1:
        return Engine()
    if ":" in device:
        raise OptionError(
            f"{owner}: device={device} is one device for several processes; choose auto, cuda or cpu"
        )
    try:
        from flowprior.training.several_processes import SeveralProcesses
    except ImportError as error:
        raise OptionError(
            f"{owner}: several processes need accelerate, which is not installed; {pip_install('scale')}"
        ) from error
    return SeveralProcesses(cpu=device == "cpu" or not torch.cuda.is_available())
