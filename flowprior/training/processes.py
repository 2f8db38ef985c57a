"""How many processes train together, which one this is, and the engine that it takes."""

from __future__ import annotations

import os

import torch

from flowprior.errors import OptionError
from flowprior.training.engine import Engine


def process_count() -> int:
    """How many processes ``torchrun`` or ``accelerate launch`` has started, this one among them.

    Raises:
        OptionError: ``WORLD_SIZE`` is no number.
    """
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdecimal() or int(text) < 1:
        raise OptionError(f"train: WORLD_SIZE={text!r} is no number of processes; unset it, or use torchrun")
    return int(text)


def process_rank() -> int:
    """The number of this process among those, from 0; the first one writes files and shows messages."""
    text = os.environ.get("RANK", "0")
    return int(text) if text.isdecimal() and process_count() > 1 else 0


def make_engine(device: str, owner: str = "train", shard: bool = False) -> Engine:
    """The engine of this process: of one process, or of those that were started together.

    Args:
        device: as in ``training.device``; ``"cpu"`` talks through gloo.
        owner: who asks, for messages.
        shard: whether each of several processes is to hold a part of the weights only.

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
        from flowprior.training.several_processes import SeveralProcesses, ShardedProcesses
    except ImportError as error:
        raise OptionError(
            f"{owner}: several processes need accelerate, which is not installed; "
            "pip install 'flowprior[scale]'"
        ) from error
    kind = ShardedProcesses if shard else SeveralProcesses
    return kind(cpu=device == "cpu" or not torch.cuda.is_available())
