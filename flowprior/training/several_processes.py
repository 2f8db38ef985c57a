"""An engine of several processes, started by accelerate (extra scale); imported where they are."""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta

import torch
from accelerate import PartialState
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from flowprior.processes.group import group_of
from flowprior.training.engine import Engine
from flowprior.training.interrupt import StopReason

ASK_EVERY = 16
"""Steps between two questions whether to stop on GPUs, which wait for each other then."""
PATIENCE = timedelta(days=7)
"""How long processes wait for each other: the first one may fit a prior for hours."""
GRACE = 0.2
"""Seconds: a collective's thread lets go of its tensors in microseconds, once the machine lets it run."""


class SeveralProcesses(Engine):
    """The processes that ``torchrun`` or ``accelerate launch`` has started, each with a copy of the network.

    Gradients are averaged by DistributedDataParallel. What is random follows from the seed and the number of
    the micro-batch, so no process has to be told. Of accelerate's settings only those of the processes count;
    precision and the like are those of the run's configuration.

    Args:
        cpu: talk through gloo, whatever devices there are.
    """

    def __init__(self, cpu: bool) -> None:
        started = PartialState(cpu=cpu, timeout=PATIENCE)
        self.rank, self.size = started.process_index, started.num_processes
        self._device = torch.device(started.device or "cpu")
        self.group = distributed.group.WORLD
        self.processes = group_of(self.group)
        atexit.register(leave, started.destroy_process_group)

    def prepared(self, model: nn.Module) -> nn.Module:
        return DistributedDataParallel(model)

    def gathering(self, model: nn.Module, now: bool) -> AbstractContextManager[object]:
        assert isinstance(model, DistributedDataParallel)
        return nullcontext() if now else model.no_sync()

    def mean(self, value: Tensor) -> Tensor:
        total = value.detach().clone()
        distributed.all_reduce(total)
        return total / self.size

    def agreed(self, stop: StopReason | None, step: int) -> StopReason | None:
        if self._device.type != "cpu" and step % ASK_EVERY:
            return None
        highest = self.processes.largest(0 if stop is None else stop.code)
        if stop is not None or highest == 0:
            return stop
        return StopReason("a signal or limit of another process", highest)


def leave(destroy: Callable[[], None]) -> None:
    """Leave the group of processes; the last thing that a process does.

    A thread of gloo lets go of the tensors of a collective a moment after their caller has them, and takes
    Python's lock for it. If the interpreter is ending by then, the thread is ended inside of a destructor and
    the process aborts ("terminate called without an active exception"), though all its work is done. torch
    has no call that waits for these threads.

    Args:
        destroy: ends the communication.
    """
    destroy()
    time.sleep(GRACE)  # without Python's lock, so that a thread that waits for it gets it
