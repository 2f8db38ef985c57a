"""The ways to write a line of progress: a bar in a terminal, a line in place in a notebook, a few in a log.

A notebook needs neither ipywidgets nor a script: the line is an output that the kernel replaces.
"""

from __future__ import annotations

import sys
import time
from typing import Any, NamedTuple, Protocol

from flowprior.display.words import clock

LOG_PARTS = 20
"""Parts of work of a known size after each of which a log gets a line."""
LOG_SECONDS = 5.0
"""Shortest time between two of them, but for the last one."""
NOTEBOOK_SECONDS = 0.3
"""Shortest time between two states of a line in a notebook."""


class Standing(NamedTuple):
    """How far work has come.

    Attributes:
        name: of the work.
        first: what was done before it began.
        done: what is done.
        total: what there is to do; None where nobody knows.
        report: what else is to be said.
        seconds: since it began.
    """

    name: str
    first: int
    done: int
    total: int | None
    report: str
    seconds: float

    def __str__(self) -> str:
        """``train: 500/2,000, loss 0.31, 0:12, 0:36 left``."""
        count = "" if self.total is None else f"{self.done:,}/{self.total:,}"
        left = self._left()
        rest = f"{clock(left)} left" if left else ""
        parts = (count, self.report, clock(self.seconds), rest)
        return f"{self.name}: {', '.join(filter(None, parts))}"

    def _left(self) -> float | None:
        """Seconds that the rest takes at the same speed; None where they are not known."""
        if self.total is None or self.done <= self.first or self.done >= self.total:
            return None
        return self.seconds * (self.total - self.done) / (self.done - self.first)


class Writer(Protocol):
    """Shows a line, as often as it is told; ``close`` leaves its last state."""

    def show(self, standing: Standing) -> None: ...

    def close(self, standing: Standing) -> None: ...


def writer_for_here(name: str, total: int | None, kept: bool) -> Writer:
    """What suits the place where this process writes."""
    if _in_notebook():
        return _NotebookLine()
    return _Bar(name, total, kept) if sys.stderr.isatty() else _Log()


def _in_notebook() -> bool:
    """Whether an IPython kernel runs this, as in Jupyter, VS Code and Colab, and no prompt in a terminal."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")


class _NotebookLine:
    """One plain line below the cell, replaced as the work goes on."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._written = 0.0

    def show(self, standing: Standing) -> None:
        if self._handle is None or time.perf_counter() - self._written >= NOTEBOOK_SECONDS:
            self._write(str(standing))

    def close(self, standing: Standing) -> None:
        self._write(str(standing))

    def _write(self, text: str) -> None:
        from IPython.display import display  # pyright: ignore[reportMissingImports] # only where a kernel runs

        self._written = time.perf_counter()
        bundle = {"text/plain": text}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


class _Bar:
    """A bar of rich's in a terminal."""

    def __init__(self, name: str, total: int | None, kept: bool) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        report = TextColumn("{task.fields[report]}", markup=False)
        known = (BarColumn(), MofNCompleteColumn(), report, TimeRemainingColumn())
        columns = known if total is not None else (report, TimeElapsedColumn())
        console = Console(stderr=True)
        name_of = TextColumn("{task.description}", markup=False)
        self._bar = Progress(name_of, *columns, console=console, transient=not kept)
        self._task = self._bar.add_task(name, total=total, report="")
        self._bar.start()

    def show(self, standing: Standing) -> None:
        self._bar.update(self._task, completed=standing.done, report=standing.report)

    def close(self, standing: Standing) -> None:
        self.show(standing)
        self._bar.stop()


class _Log:
    """Lines for a file: at the start, at each twentieth of the work, and at its end."""

    def __init__(self) -> None:
        self._part, self._last = -1, ""
        self._written = -LOG_SECONDS

    def show(self, standing: Standing) -> None:
        part = 0 if standing.total is None else LOG_PARTS * standing.done // max(1, standing.total)
        if part > self._part and standing.seconds - self._written >= LOG_SECONDS:
            self._part, self._written = part, standing.seconds
            self._write(standing)

    def close(self, standing: Standing) -> None:
        self._write(standing)

    def _write(self, standing: Standing) -> None:
        if (line := str(standing)) != self._last:
            self._last = line
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
