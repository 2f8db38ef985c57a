"""How far work has come: one line that follows it, in a terminal, a notebook or a log."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from flowprior.display.lines import Standing, Writer, writer_for_here

PROGRESS = "FLOWPRIOR_PROGRESS"
"""Environment variable: ``0``, ``off``, ``no`` or ``false`` shows no progress where a call does not say."""
OFF = ("0", "off", "no", "false")
_inside: ContextVar[bool] = ContextVar("inside of work whose progress is shown or hidden", default=False)


def shows_progress(asked: bool | None = None) -> bool:
    """Whether to show progress: as ``asked``, else as :data:`PROGRESS` says, else yes.

    Work within other work shows none of its own, unless it is asked for.
    """
    if asked is not None:
        return asked
    return not _inside.get() and os.environ.get(PROGRESS, "").strip().lower() not in OFF


@contextmanager
def quiet() -> Iterator[None]:
    """Around work whose parts are not to show progress of their own."""
    token = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(token)


class ProgressLine:
    """One line about work under way, on stderr or below the cell of a notebook; a context.

    Args:
        name: of the work.
        total: how much there is to do; None where nobody knows.
        shown: False shows nothing.
        after: seconds before the line appears, so that short work shows none.
        kept: whether a terminal keeps the last state of the line.
    """

    def __init__(
        self,
        name: str,
        total: int | None = None,
        *,
        shown: bool = True,
        after: float = 0.0,
        kept: bool = True,
    ) -> None:
        self._name, self._total, self._shown, self._after, self._kept = name, total, shown, after, kept
        self._writer: Writer | None = None
        self._first = self._done = 0
        self._report = ""

    def __enter__(self) -> ProgressLine:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, done: int = 0) -> None:
        """The work begins, or goes on where ``done`` is done."""
        self._begun, self._first, self._done = time.perf_counter(), done, done
        self._show()

    def update(self, done: int, report: str | None = None) -> None:
        """``done`` is done; ``report`` is said beside it until there is another."""
        self._done = done
        self._report = self._report if report is None else report
        self._show()

    def stop(self) -> None:
        """Leave the line as it stands; more than once does no harm."""
        if self._writer is not None:
            self._writer.close(self._standing())
        self._writer, self._shown = None, False

    def _show(self) -> None:
        if not self._shown or time.perf_counter() - self._begun < self._after:
            return
        if self._writer is None:
            self._writer = writer_for_here(self._name, self._total, self._kept)
        self._writer.show(self._standing())

    def _standing(self) -> Standing:
        seconds = time.perf_counter() - self._begun
        return Standing(self._name, self._first, self._done, self._total, self._report, seconds)
