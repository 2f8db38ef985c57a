"""Threads follow the main thread where they say nothing themselves, and never each other."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from flowprior.progress import PROGRESS, showing, shows_progress, stage


def shown_titles(titles: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Titles that stages in a pool of threads have written to a log."""

    def work(title: str) -> None:
        with stage(title, 1, everywhere=True) as line:
            line.advance()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, titles))
    err = capsys.readouterr().err
    return [title for title in titles if title in err]


def test_a_pool_shows_what_its_owner_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with showing(True):
        assert shown_titles(["one", "two"], capsys) == ["one", "two"]
    with showing(False):
        assert shown_titles(["one", "two"], capsys) == []
    assert shown_titles(["one", "two"], capsys) == []


def test_work_in_a_pool_is_hidden_where_the_owner_hides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PROGRESS, raising=False)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(shows_progress).result()
        with showing(False):
            assert not pool.submit(shows_progress).result()
            assert pool.submit(shows_progress, True).result()
        assert pool.submit(shows_progress).result()


def test_a_thread_follows_the_outermost_work_not_a_part_of_it() -> None:
    """A prior's fit hides what is below it, which is nothing to a thread that fits another one."""
    with ThreadPoolExecutor(1) as pool, showing(True), showing(False):
        assert pool.submit(shows_progress).result()
        assert not shows_progress()


def test_what_a_thread_says_holds_in_it_alone() -> None:
    def nested() -> tuple[bool, bool]:
        with showing(False):
            return shows_progress(), pool.submit(shows_progress).result()

    with ThreadPoolExecutor(2) as pool, showing(True):
        assert pool.submit(nested).result() == (False, True)
        assert shows_progress()


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
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(shows_progress).result()
