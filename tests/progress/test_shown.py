"""Progress and stages: shown by default, off by an argument or the environment, readable everywhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import torch
from tqdm import std

from flowprior.priors import Prior
from flowprior.progress import stages
from flowprior.progress import stages as stages_module
from flowprior.progress.stages import PROGRESS, Stage, showing, shows_progress, stage


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test sets."""
    now = [0.0]
    monkeypatch.setattr(std, "time", lambda: now[0])
    return now


@pytest.mark.parametrize("value", ["0", "off", "No", " false "])
def test_the_environment_turns_progress_off_unless_a_call_asks_for_it(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PROGRESS, value)
    assert not shows_progress()
    assert shows_progress(True)


def test_progress_is_shown_by_default_and_an_argument_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PROGRESS, raising=False)
    assert shows_progress()
    assert not shows_progress(False)
    with showing(False):
        assert not shows_progress()
        with showing():
            assert not shows_progress()
        with showing(True):
            assert shows_progress()
    assert shows_progress()


def test_a_line_says_what_is_done_and_how_long_the_rest_takes(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with showing(True), stage("train", 2000, everywhere=True) as line:
        clock[0] = 12.5
        line.update(500, "loss 0.31")
        with stage("fit gmm", everywhere=True) as fitting:
            clock[0] += 5.0
            fitting.update(9, "9 rows read")
    written = capsys.readouterr().err
    assert "train: 500/2000 [00:12<00:37, 40.00it/s, loss 0.31]\n" in written
    assert "fit gmm [00:05, 9 rows read]\n" in written


def test_a_log_gets_few_lines_and_the_last_state(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with showing(True), stage("train", 10_000, everywhere=True) as line:
        for done in range(10_001):
            clock[0] = done / 10
            line.update(done)
    written = capsys.readouterr().err.splitlines()
    assert written[0].startswith("train: 0/10000")
    assert written[-1].startswith("train: 10000/10000 [16:40<00:00")
    assert len(written) == 21


def test_what_is_hidden_or_short_writes_nothing(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with showing(False), stage("work", 5, everywhere=True) as line:
        line.update(5)
    with showing(True), stage("fit", everywhere=True, after=1.0) as line:
        clock[0] = 0.9
        line.update(5, "read")
    assert capsys.readouterr().err == ""


def test_a_run_that_goes_on_counts_its_own_steps_alone(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    line = Stage("train", 1000, first=900, everywhere=True)
    clock[0] = 10.0
    line.update(950)
    line.stop()
    line.stop()
    assert capsys.readouterr().err.splitlines() == [
        "train: 900/1000 [00:00<?, ?it/s]",
        "train: 950/1000 [00:10<00:10,  5.00it/s]",
    ]


def test_a_notebook_replaces_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stages_module, "_in_notebook", lambda: True)
    with showing(True), stage("train", 500, everywhere=True) as line:
        for done in range(501):
            line.update(done)
    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert "500/500" in written.rsplit("\r", 1)[1]


def test_a_fit_that_takes_a_while_says_what_it_reads_and_what_it_was_fitted_to(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    class SlowPrior(type(Prior.create("gaussian"))):
        def _fit(self, data: Any, generator: Any) -> None:
            for _ in data:
                clock[0] += 3.0
            super()._fit(data, generator)

    SlowPrior().fit([torch.randn(8, 2)] * 3)
    written = capsys.readouterr().err.splitlines()
    assert written[0].startswith("fit SlowPrior [")
    assert "rows read]" in written[0]
    assert "fitted to 24 examples of shape [2] without a condition" in written[-1]


# -- stages on a terminal -------------------------------------------------------------------------


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
