"""The ways to write a line of progress: a bar in a terminal, a line in place in a notebook, a few in a log.

A notebook needs neither ipywidgets nor a script: the line is an output that the kernel replaces.
"""

from __future__ import annotations

import sys
import time
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from flowprior.display import clock

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LOG_PARTS = 20
"""Parts of work of a known size after each of which a log gets a line."""
LOG_SECONDS = 5.0
"""Shortest time between two of them, but for the last one."""
NOTEBOOK_SECONDS = 0.3
"""Shortest time between two states of a line in a notebook."""
REFRESHES = 5
"""Of the bars of a terminal, in a second."""


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
        left = self._left()
        rest = f"{clock(left)} left" if left else ""
        parts = (self.counted, self.report, clock(self.seconds), rest)
        return f"{self.name}: {', '.join(filter(None, parts))}"

    @property
    def counted(self) -> str:
        """``500/2,000``; nothing where the total is not known."""
        return "" if self.total is None else f"{self.done:,}/{self.total:,}"

    def _left(self) -> float | None:
        """Seconds that the rest takes at the same speed; None where they are not known."""
        if self.total is None or self.done <= self.first or self.done >= self.total:
            return None
        return self.seconds * (self.total - self.done) / (self.done - self.first)


class Writer(Protocol):
    """Shows a line, as often as it is told; ``close`` leaves its last state."""

    def show(self, standing: Standing) -> None: ...

    def close(self, standing: Standing) -> None: ...


def writer_for_here(everywhere: bool, kept: bool) -> Writer:
    """What suits the place where this process writes.

    Args:
        everywhere: notebooks and logs get lines, too.
        kept: whether a terminal keeps the last state.
    """
    from rich.console import Console

    if _in_notebook():
        return _NotebookLine() if everywhere else _Silence()
    if Console(stderr=True).is_terminal:
        return _Bar(kept)
    return _Log() if everywhere else _Silence()


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


class _Silence:
    """Writes nothing."""

    def show(self, standing: Standing) -> None:
        pass

    def close(self, standing: Standing) -> None:
        pass


class _Bars:
    """The bars that a terminal shows now, one below the other: rich has one live display at a time."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._open: set[TaskID] = set()
        self._keeps = False
        self._lock = Lock()  # of threads that begin and end work at the same time

    def add(self, standing: Standing) -> tuple[Progress, TaskID]:
        """A new bar below the others."""
        with self._lock:
            progress = self._progress = self._progress or _make_progress()
            task = progress.add_task(standing.name, **_columns(standing))
            self._open.add(task)
            progress.start()
            return progress, task

    def close(self, task: TaskID, kept: bool) -> None:
        """Take a bar away, or leave it as it stands; the last one ends the display."""
        with self._lock:
            progress = self._progress
            if progress is None:
                return
            self._open.discard(task)
            self._keeps |= kept
            if not kept:
                progress.remove_task(task)
            if not self._open:
                progress.live.transient = not self._keeps
                progress.stop()
                self._progress, self._keeps = None, False


_BARS = _Bars()


class _Bar:
    """A bar of rich's in a terminal."""

    def __init__(self, kept: bool) -> None:
        self._kept = kept
        self._bar: tuple[Progress, TaskID] | None = None

    def show(self, standing: Standing) -> None:
        if self._bar is None:
            self._bar = _BARS.add(standing)
        progress, task = self._bar
        progress.update(task, description=standing.name, **_columns(standing))

    def close(self, standing: Standing) -> None:
        self.show(standing)
        if self._bar is not None:
            _BARS.close(self._bar[1], self._kept)


def _columns(standing: Standing) -> dict[str, Any]:
    """What a bar shows beside its title."""
    known = {"completed": standing.done, "total": standing.total}
    return {**known, "count": standing.counted, "report": standing.report}


def _make_progress() -> Progress:
    """Title, bar, count, report, time that passed and time that is left."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    texts = [
        TextColumn(f"{{task.{name}}}", markup=False)
        for name in ("description", "fields[count]", "fields[report]")
    ]
    columns = (texts[0], BarColumn(), *texts[1:], TimeElapsedColumn(), TimeRemainingColumn())
    # What is printed meanwhile goes above the bars where both are seen, and into its file where it has one.
    seen = {"console": Console(stderr=True), "redirect_stdout": sys.stdout.isatty()}
    return Progress(*columns, **seen, refresh_per_second=REFRESHES)


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
