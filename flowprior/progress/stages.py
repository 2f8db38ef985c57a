"""Stages of a long piece of work, each with a bar on stderr while it lasts.

The code that works names its stages; whoever runs it decides by :func:`showing` whether they are shown, which
nobody sees without a terminal. Bars vanish with their stage, and a stage within another stands below it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

REFRESHES = 5
"""Of the bars, in a second."""


class Stage:
    """A stage that is under way; without bars nothing is shown of it.

    Args:
        bars: that are shown.
        task: its own one.
    """

    def __init__(self, bars: Progress | None = None, task: TaskID | None = None) -> None:
        self._bars, self._task = bars, task

    def advance(self, count: int = 1) -> None:
        """So many more of the stage's parts are done."""
        if self._bars is not None and self._task is not None:
            self._bars.advance(self._task, count)

    def rename(self, title: str) -> None:
        """What the stage is at."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, description=title)


class _Screen:
    """The bars that are shown now, made with the first stage and left with the last."""

    def __init__(self) -> None:
        self.bars: Progress | None = None

    @contextmanager
    def stage(self, title: str, total: int | None) -> Iterator[Stage]:
        outermost = self.bars is None
        bars = self.bars = self.bars or _make_bars()
        task = bars.add_task(title, total=total)
        if outermost:
            bars.start()
        try:
            yield Stage(bars, task)
        finally:
            bars.remove_task(task)
            if outermost:
                bars.stop()
                self.bars = None


_SCREEN: ContextVar[_Screen | None] = ContextVar("screen", default=None)


@contextmanager
def showing(on: bool = True) -> Iterator[None]:
    """Around what has stages: they are shown on stderr, where that is a terminal.

    Args:
        on: False leaves it as it is.
    """
    if not on or _SCREEN.get() is not None or not _is_terminal():
        yield
        return
    token = _SCREEN.set(_Screen())
    try:
        yield
    finally:
        _SCREEN.reset(token)


@contextmanager
def stage(title: str, total: int | None = None) -> Iterator[Stage]:
    """Around a piece of work that may take seconds.

    Args:
        title: what is done, in a few words.
        total: number of its parts, each of which :meth:`Stage.advance` tells; None where it is not known.
    """
    screen = _SCREEN.get()
    if screen is None:
        yield Stage()
        return
    with screen.stage(title, total) as begun:
        yield begun


def _is_terminal() -> bool:
    from rich.console import Console

    return Console(stderr=True).is_terminal


def _make_bars() -> Progress:
    """Title, bar, share and time; a bar without a total moves to and fro."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    shown = {"console": Console(stderr=True), "transient": True, "refresh_per_second": REFRESHES}
    return Progress(*columns, TimeElapsedColumn(), **shown)
