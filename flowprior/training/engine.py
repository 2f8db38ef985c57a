"""The process of a training: alone or launched with others, and what ends it before its last step.

That is Ctrl-C, the signals of batch schedulers, or a limit of time. The step under way is finished and a
checkpoint saved, so that nothing is lost and a resumed run goes on.
"""

from __future__ import annotations

import atexit
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from types import FrameType, TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from flowprior.errors import OptionError, pip_install
from flowprior.processes import process_count
from flowprior.processes.group import Group, group_of

ASK_EVERY = 16
"""Steps between two questions whether to stop on GPUs, which wait for each other then."""
PATIENCE = timedelta(days=7)
"""How long processes wait for each other: the first one may fit a prior for hours."""
GRACE = 0.2
"""Seconds: a collective's thread lets go of its tensors in microseconds, once the machine lets it run."""
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Slurm sends SIGUSR1 some time before the end of a job to those who ask for it (``--signal=USR1@120``)."""
LIMIT_CODE = 124
"""Exit code of a run that has reached its limit of time: that of ``timeout``."""


class Engine:
    """One process, which takes every micro-batch; the base class of engines of several.

    Micro-batch k of a step belongs to process k // ``accumulate``. What it contains depends on k alone, so
    the same number of micro-batches gives the same training on any number of processes, up to rounding.

    Attributes:
        rank: of this process, from 0; the first one writes all files and shows all messages.
        size: number of processes.
        group: of torch.distributed that they are in; None for one process.
        processes: what they tell each other by.
    """

    rank: int = 0
    size: int = 1
    group: distributed.ProcessGroup | None = None
    processes: Group = Group()

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and shows messages."""
        return self.rank == 0

    def parts(self, accumulate: int) -> range:
        """Numbers of the micro-batches that this process takes of every step."""
        return range(self.rank * accumulate, (self.rank + 1) * accumulate)

    def prepared(self, model: nn.Module) -> nn.Module:
        """What is called in place of ``model`` in a step, so that gradients come together."""
        return model

    def gathering(self, model: nn.Module, now: bool) -> AbstractContextManager[object]:
        """Context of a backward pass through the prepared ``model``: ``now`` brings gradients together."""
        return nullcontext()

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes, on each of them."""
        return value

    def agreed(self, stop: StopReason | None, step: int) -> StopReason | None:
        """A reason to stop after ``step`` that any process has; each of them asks after every step."""
        return stop

    def check_same(self, step: int) -> None:
        """Check that all processes stand at the same ``step``.

        Raises:
            OptionError: they have read different checkpoints.
        """
        steps = sorted(set(self.processes.of_each(step)))
        if len(steps) > 1:
            raise OptionError(
                f"train: the processes stand at different steps ({', '.join(map(str, steps))}); "
                "let all of them read one folder, of a file system that they share"
            )

    def wait(self) -> None:
        """Wait for all processes."""
        self.processes.of_each(None)


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
        return SeveralProcesses(cpu=device == "cpu" or not torch.cuda.is_available())
    except ImportError as error:
        raise OptionError(
            f"{owner}: several processes need accelerate, which is not installed; {pip_install('scale')}"
        ) from error


class SeveralProcesses(Engine):
    """The processes that ``torchrun`` or ``accelerate launch`` has started, each with a copy of the network.

    Gradients are averaged by DistributedDataParallel. What is random follows from the seed and the number of
    the micro-batch, so no process has to be told. Of accelerate's settings only those of the processes count;
    precision and the like are those of the run's configuration.

    Args:
        cpu: talk through gloo, whatever devices there are.

    Raises:
        ImportError: accelerate is not installed.
    """

    def __init__(self, cpu: bool) -> None:
        from accelerate import PartialState

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


class StopReason(NamedTuple):
    """Why a run stops: in words that follow "stopped by", and the exit code of the process."""

    text: str
    code: int


class TrainingInterrupted(SystemExit):
    """Training stopped before its last step, after saving a checkpoint.

    A ``SystemExit``: a script that does not catch it ends without a stack trace, and what waits for it does
    not go on with half a training. Its code is the one that shells give to a process that a signal ended (130
    for SIGINT, 138 for SIGUSR1, 143 for SIGTERM), or 124 at the limit of time, as ``timeout`` has it.

    Args:
        message: one line.
        code: of the process.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(code)
        self.message = message

    def __str__(self) -> str:
        return self.message


class StopRequests:
    """Context that notes whether the run should stop.

    The first of ``SIGNALS`` is only noted; a second one does what it did before the context, but for SIGTERM
    and SIGUSR1 where they may come twice, from a batch scheduler and from a launcher. Outside the main
    thread, where Python allows no handlers, signals are left alone. The previous handlers come back at the
    end.

    Args:
        enabled: False notes nothing, for a run that cannot be saved.
        minutes: of the run; 0 for as long as it takes.
        begun: when it began, by ``time.monotonic``.
        launched: by a launcher, which passes signals on.
    """

    def __init__(
        self, enabled: bool = True, minutes: float = 0.0, begun: float = 0.0, launched: bool = False
    ) -> None:
        self._launched = launched
        self.received: signal.Signals | None = None
        self._watches = enabled and threading.current_thread() is threading.main_thread()
        self._minutes = minutes
        self._end = begun + 60 * minutes if enabled and minutes else float("inf")
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequests:
        if self._watches:
            # None marks a handler that was not installed from Python; it cannot be put back.
            for number in SIGNALS:
                if (handler := signal.getsignal(number)) is not None:
                    self._previous[number] = handler
                    signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def reason(self) -> StopReason | None:
        """Why the run should stop now; None where it should go on."""
        received = self.received
        if received is not None:
            return StopReason(received.name, 128 + received)
        if time.monotonic() >= self._end:
            return StopReason(f"its limit of {self._minutes:g} minutes", LIMIT_CODE)
        return None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        if not self._launched or number == signal.SIGINT:
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
