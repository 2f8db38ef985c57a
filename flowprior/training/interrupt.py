"""Ctrl-C and SIGTERM finish the step instead of losing it."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingInterrupted(SystemExit):
    """Training stopped on a signal after saving a checkpoint.

    A ``SystemExit`` with the code that shells give to a process that a signal ended: 130 for SIGINT, 143 for
    SIGTERM. A script that does not catch it ends without a stack trace, and what waits for it does not go on
    with half a training.

    Args:
        message: one line.
        number: the signal.
    """

    def __init__(self, message: str, number: signal.Signals) -> None:
        super().__init__(128 + number)
        self.message = message

    def __str__(self) -> str:
        return self.message


class SignalWatch:
    """Context in which the first SIGINT or SIGTERM only sets :attr:`received`.

    A second one does what it did before the context. Outside the main thread, where Python allows no
    handlers, the context does nothing. The previous handlers come back at the end.
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled and threading.current_thread() is threading.main_thread()
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> SignalWatch:
        if self.enabled:
            # None marks a handler that was not installed from Python; it cannot be put back.
            handlers = {number: signal.getsignal(number) for number in SIGNALS}
            self._previous = {number: handler for number, handler in handlers.items() if handler is not None}
            for number in self._previous:
                signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
