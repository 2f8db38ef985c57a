"""The interrupts that end a training early: Ctrl-C, the signals of batch schedulers, a limit of time.

The step under way is finished and a checkpoint saved, so that nothing is lost and a resumed run goes on.
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, NamedTuple

from flowprior.processes.group import Group

ASK_EVERY = 16
"""Steps between two questions whether to stop on GPUs, which wait for each other then."""
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Slurm sends SIGUSR1 some time before the end of a job to those who ask for it (``--signal=USR1@120``)."""
LIMIT_CODE = 124
"""Exit code of a run that has reached its limit of time: that of ``timeout``."""


class StopReason(NamedTuple):
    """The reason why a run stops: in words that follow "stopped by", and the exit code of the process."""

    text: str
    code: int


def agreed(stop: StopReason | None, processes: Group, step: int) -> StopReason | None:
    """Return a reason to stop after ``step`` that any process has; each of them asks after every step."""
    if processes.size == 1:
        return stop
    if processes.device.type != "cpu" and step % ASK_EVERY:
        return None
    highest = processes.largest(0 if stop is None else stop.code)
    if stop is not None or highest == 0:
        return stop
    return StopReason("a signal or limit of another process", highest)


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
    """A context that notes when the run should stop.

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
        """Return why this process should stop now; None to go on."""
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
