"""Hostile data files and arguments: one line and exit code 2, or a training; no trace, no hang, no flood."""

from __future__ import annotations

import gc
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import Answer, call_app
from tests.fuzz.hostile_inputs import Case, cases

MOST_SECONDS = 60
MOST_BYTES = 1 << 30
"""Address space that a call may take beyond what the process has: what it states as bounds stays below."""


@contextmanager
def bounded() -> Iterator[None]:
    """Time and memory of this process limited, and free again afterwards."""

    def late(*_: object) -> None:
        raise TimeoutError(f"took more than {MOST_SECONDS} seconds")

    gc.collect()
    gc.freeze()  # so that the next call's collection looks at this one's objects alone
    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    previous = signal.signal(signal.SIGALRM, late)
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + MOST_BYTES, hard))
    signal.alarm(MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
        resource.setrlimit(resource.RLIMIT_AS, (before, hard))


def call(case: Case, folder: Path) -> Answer:
    place = folder / "data"
    place.mkdir()
    arguments = case.make(place)
    out = [] if arguments[0] != "train" else ["--out", str(folder / "run")]
    with bounded():
        return call_app(*arguments, *out)


def test_there_are_about_a_hundred() -> None:
    names = [case.name for case in cases()]
    assert len(names) == len(set(names)) >= 100


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name.replace(" ", "-"))
@pytest.mark.filterwarnings("ignore")
def test_hostile_input(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = call(case, tmp_path)
    lines = answer.err.splitlines()
    if case.succeeds:
        assert answer.code == 0, answer.err
        return
    assert answer.code == 2, answer
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("flowprior: error: ")
    assert len(lines[0]) < 3000
    assert lines[0].isprintable()
    assert not (tmp_path / "run").exists()
