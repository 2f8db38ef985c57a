"""The stages of a long piece of work, each with a line that follows it while it lasts.

The code that works names its stages; whoever runs it decides by :func:`showing` whether they are shown. A
stage within another stands below it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tqdm import tqdm

PROGRESS = "FLOWPRIOR_PROGRESS"
"""Environment variable: ``0``, ``off``, ``no`` or ``false`` shows no progress where a call does not say."""
OFF = ("0", "off", "no", "false")
LOG_PARTS = 20
"""Parts of work of a known size after each of which a log gets a line."""
LOG_SECONDS = 5.0
"""The shortest time between two lines of a log, but for the last one."""
NOTEBOOK_SECONDS = 0.3
"""The shortest time between two states of a line in a notebook."""
COUNTED = "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
"""A line of a log: time that passed, time that is left, speed and report, as in a bar of tqdm's."""
UNCOUNTED = "{desc} [{elapsed}{postfix}]"
"""A line of work whose total nobody knows."""
_SHOWN: ContextVar[bool | None] = ContextVar(
    "whether stages are shown; None outside of any work", default=None
)


def shows_progress(asked: bool | None = None) -> bool:
    """Return True if progress is shown: by the argument, the work around, or :data:`PROGRESS`."""
    if asked is not None:
        return asked
    around = _SHOWN.get()
    return os.environ.get(PROGRESS, "").strip().lower() not in OFF if around is None else around


@contextmanager
def showing(asked: bool | None = None) -> Iterator[None]:
    """Set whether the stages inside are shown, see :func:`shows_progress`.

    It holds for this thread and for what is awaited in it.
    """
    token = _SHOWN.set(shows_progress(asked))
    try:
        yield
    finally:
        _SHOWN.reset(token)


class _Lines:
    """A stderr for tqdm outside of terminals and notebooks: each state is a line of its own."""

    def __init__(self) -> None:
        self._last = ""

    def write(self, text: str) -> None:
        line = text.strip()
        if line and line != self._last:
            self._last = line
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        sys.stderr.flush()


class _Bar(tqdm):
    """A bar without tqdm's thread, which would show a state before a twentieth of the work is done."""

    monitor_interval = 0


class Stage:
    """A stage that is under way: a bar in a terminal, a line in place in a notebook, a few lines in a log.

    Args:
        title: what is done, in a few words.
        total: how much there is to do; None where nobody knows.
        first: how much of it was done before.
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
        first: int = 0,
        shown: bool = True,
        everywhere: bool = False,
        kept: bool = False,
        after: float = 0.0,
    ) -> None:
        terminal = _in_terminal()
        hidden = not (shown and (terminal or everywhere))
        options: dict[str, Any] = {"initial": first, "delay": after, "disable": hidden}
        if terminal:
            options |= {"leave": kept, "dynamic_ncols": True}
        elif _in_notebook():
            options |= {"position": 0, "mininterval": NOTEBOOK_SECONDS}
        else:
            part = 0 if total is None else -(-total // LOG_PARTS)
            options |= {"position": 0, "mininterval": LOG_SECONDS, "miniters": part}
            options |= {"file": _Lines(), "bar_format": COUNTED}
        if total is None:
            options["bar_format"] = UNCOUNTED
        self._bar = _Bar(desc=title, total=total, **options)

    def advance(self, count: int = 1) -> None:
        """Count so much more as done."""
        self._bar.update(count)

    def update(self, done: int, report: str | None = None) -> None:
        """Count ``done`` as done; ``report`` stands beside it until there is another."""
        if report is not None:
            self._bar.set_postfix_str(report, refresh=False)
        self._bar.update(done - self._bar.n)

    def stop(self) -> None:
        """End the line of the stage; a second call does nothing."""
        self._bar.close()


def _in_terminal() -> bool:
    return sys.stderr.isatty()


def _in_notebook() -> bool:
    """Return True in an IPython kernel, as in Jupyter and Colab, and False at a terminal's prompt."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")


@contextmanager
def stage(
    title: str, total: int | None = None, *, everywhere: bool = False, kept: bool = False, after: float = 0.0
) -> Iterator[Stage]:
    """Show a stage around work that may take seconds, if :func:`showing` around it says so.

    The arguments are those of :class:`Stage`.
    """
    shown = bool(_SHOWN.get())
    under_way = Stage(title, total, shown=shown, everywhere=everywhere, kept=kept, after=after)
    try:
        yield under_way
    finally:
        under_way.stop()
