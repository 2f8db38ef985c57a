"""Stages are shown where somebody asked for them and stderr is a terminal, and leave nothing behind."""

from __future__ import annotations

import asyncio

import pytest

from flowprior.progress import stages
from flowprior.progress.stages import PROGRESS, showing, shows_progress, stage


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """stderr is taken for a terminal."""
    monkeypatch.setattr(stages, "_in_terminal", lambda: True)


def test_a_stage_and_one_within_it_are_shown_by_their_titles(
    terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with showing(True), stage("the whole", 2, kept=True) as whole:
        whole.advance()
        with stage("a part"):
            pass
    captured = capsys.readouterr()
    assert captured.out == ""
    for title in ("the whole", "1/2", "a part"):
        assert title in captured.err


def test_nothing_is_shown_unless_somebody_asks(terminal: None, capsys: pytest.CaptureFixture[str]) -> None:
    with stage("unasked", 3) as under_way:
        under_way.advance()
    with showing(True):
        pass
    with stage("too late"):
        pass
    assert capsys.readouterr().err == ""


def test_tasks_that_overlap_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PROGRESS, raising=False)

    async def work(asked: bool, begun: asyncio.Event, other: asyncio.Event) -> bool:
        with showing(asked):
            begun.set()
            await other.wait()
            return shows_progress()

    async def both() -> list[bool]:
        first, second = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(work(False, first, second), work(True, second, first))

    assert asyncio.run(both()) == [False, True]
    assert shows_progress()
