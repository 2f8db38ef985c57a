"""Stages of a long piece of work, each with a line that follows it while it lasts.

The code that works names its stages; whoever runs it decides by :func:`showing` whether they are shown. A
stage within another stands below it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from flowprior.progress.lines import Standing, Writer, writer_for_here

PROGRESS = "FLOWPRIOR_PROGRESS"
"""Environment variable: ``0``, ``off``, ``no`` or ``false`` shows no progress where a call does not say."""
OFF = ("0", "off", "no", "false")
_SHOWN: ContextVar[bool | None] = ContextVar(
    "whether stages are shown; None outside of any work", default=None
)
_OF_MAIN: list[bool] = []
"""What the outermost work of the main thread says, for threads that say nothing themselves."""


def shows_progress(asked: bool | None = None) -> bool:
    """Whether progress is shown: as ``asked``, else as around this, else unless :data:`PROGRESS` says no."""
    if asked is not None:
        return asked
    around = _around()
    return os.environ.get(PROGRESS, "").strip().lower() not in OFF if around is None else around


@contextmanager
def showing(asked: bool | None = None) -> Iterator[None]:
    """Around work that has stages: whether they are shown, see :func:`shows_progress`.

    It holds for this thread and for what is awaited in it. A thread in which nobody says otherwise follows
    the outermost of the main thread for as long as that lasts, so that a pool shows what its owner asked for.
    """
    shown = shows_progress(asked)
    leads = _SHOWN.get() is None and _is_main_thread()
    token = _SHOWN.set(shown)
    if leads:
        _OF_MAIN.append(shown)
    try:
        yield
    finally:
        if leads:
            _OF_MAIN.remove(shown)
        _SHOWN.reset(token)


def _around() -> bool | None:
    """Whether work around this is shown; None outside of any."""
    own = _SHOWN.get()
    return _OF_MAIN[-1] if own is None and _OF_MAIN and not _is_main_thread() else own


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


class Stage:
    """A stage that is under way.

    Args:
        title: what is done, in a few words.
        total: how much there is to do; None where nobody knows.
        shown: False shows nothing.
        everywhere: notebooks and logs show it, too, as a line that stays; else a terminal alone does.
        kept: whether a terminal keeps the last state of the line.
        after: seconds before the line appears, so that short work shows none.
    """

    def __init__(
        self,
        title: str,
        total: int | None = None,
        *,
        shown: bool = True,
        everywhere: bool = False,
        kept: bool = False,
        after: float = 0.0,
    ) -> None:
        self._title, self._total, self._shown, self._after = title, total, shown, after
        self._everywhere, self._kept = everywhere, kept
        self._writer: Writer | None = None
        self._first = self._done = 0
        self._report = ""
        self._begun = time.perf_counter()

    def start(self, done: int = 0) -> None:
        """The work begins, or goes on where ``done`` is done."""
        self._begun, self._first, self._done = time.perf_counter(), done, done
        self._show()

    def advance(self, count: int = 1) -> None:
        """So much more is done."""
        self.update(self._done + count)

    def update(self, done: int, report: str | None = None) -> None:
        """``done`` is done; ``report`` is said beside it until there is another."""
        self._done = done
        self._report = self._report if report is None else report
        self._show()

    def rename(self, title: str) -> None:
        """What the stage is at."""
        self._title = title
        self._show()

    def stop(self) -> None:
        """The work has ended; more than once does no harm."""
        if self._writer is not None:
            self._writer.close(self._standing())
        self._writer, self._shown = None, False

    def _show(self) -> None:
        if not self._shown or time.perf_counter() - self._begun < self._after:
            return
        if self._writer is None:
            self._writer = writer_for_here(self._everywhere, self._kept)
        self._writer.show(self._standing())

    def _standing(self) -> Standing:
        seconds = time.perf_counter() - self._begun
        return Standing(self._title, self._first, self._done, self._total, self._report, seconds)


@contextmanager
def stage(
    title: str, total: int | None = None, *, everywhere: bool = False, kept: bool = False, after: float = 0.0
) -> Iterator[Stage]:
    """Around a piece of work that may take seconds; shown where :func:`showing` around it says so.

    The arguments are those of :class:`Stage`.
    """
    shown = bool(_around())
    under_way = Stage(title, total, shown=shown, everywhere=everywhere, kept=kept, after=after)
    under_way.start()
    try:
        yield under_way
    finally:
        under_way.stop()
