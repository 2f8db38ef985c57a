"""Steps in processes of their own: their errors, hangs and ends stay theirs, and what they found is kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.command import ROOT, run_command
from benchmarks.gpu.record import CUT, NOT_REACHED, Record
from benchmarks.gpu.run import apart, inside, run_all
from benchmarks.gpu.steps import STEPS
from tests.benchmarks.gpu.some_steps import step

PATIENCE = 60
"""Seconds that a busy machine is given for what takes a tenth of one."""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def eventually(found: Callable[[], Any]) -> Any:
    """What ``found`` gives as soon as that is something."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if result := found():
            return result
        time.sleep(0.05)
    raise AssertionError("nothing came")


@pytest.mark.parametrize("launch", [inside, apart])
@pytest.mark.parametrize(
    ("name", "values", "error"),
    [
        ("well", {"first": 1, "second": 2}, None),
        ("refuses", {"found": 3}, "two kernels disagree"),
        ("breaks", {"found": 3}, "ValueError: nobody expected this"),
    ],
)
def test_how_a_step_ends(launch: Any, name: str, values: dict[str, int], error: str | None) -> None:
    outcome = launch(step(name), PATIENCE, lambda _: None)
    assert outcome.values == values
    assert outcome.error == error or (outcome.error or "").endswith(error or "no error was expected")


def test_a_step_that_dies_leaves_what_it_had_reported() -> None:
    outcome = apart(step("dies"), PATIENCE, lambda _: None)
    assert outcome.values == {"found": 3}
    assert (outcome.error or "").endswith(f"ended with {-signal.SIGABRT}")


@pytest.mark.slow
def test_a_step_that_hangs_is_ended_at_its_limit_and_leaves_what_it_had_reported() -> None:
    reports: list[dict[str, Any]] = []
    outcome = apart(step("hangs"), 3, reports.append)
    assert reports, "the step was ended before it had begun"
    assert outcome.values == reports[-1]
    assert outcome.error == "cut at its limit of 3 s"
    assert not is_alive(outcome.values["pid"])


def test_a_command_is_ended_with_what_it_started() -> None:
    words = ["sh", "-c", "sleep 600 & echo $!; wait"]
    finished = run_command(words, 1)
    assert finished.cut
    eventually(lambda: not is_alive(int(finished.output)) or _is_zombie(int(finished.output)))


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except FileNotFoundError:
        return True


def test_an_error_stops_none_of_the_later_steps(tmp_path: Path) -> None:
    record = Record(tmp_path / "card.json", {}, [step("breaks"), step("well")], rehearsal=False)
    said: list[str] = []
    run_all([step("breaks"), step("well")], record, inside, time.monotonic() + PATIENCE, said.append)
    assert [one["status"] for one in record.steps.values()] == ["failed", "done"]
    assert any("run breaks" in line for line in said)
    assert any(line.startswith("well: done after") for line in said)


def test_a_step_without_enough_time_is_left_out_and_says_so(tmp_path: Path) -> None:
    steps = [step("hangs", least=40), step("well", least=0)]
    record = Record(tmp_path / "card.json", {}, steps, rehearsal=False)
    run_all(steps, record, inside, time.monotonic() + 30, lambda _: None)
    assert [one["status"] for one in record.steps.values()] == ["skipped", "done"]
    assert record.steps["hangs"]["error"].endswith("s were left, and it needs 40 s")


def test_a_step_gets_no_more_than_what_is_left(tmp_path: Path) -> None:
    limits: list[float] = []

    def launch(one: Any, limit: float, partly: Any) -> Any:
        limits.append(limit)
        return inside(one, limit, partly)

    steps = [step("well", most=5), step("well", most=500)]
    record = Record(tmp_path / "card.json", {}, steps, rehearsal=False)
    run_all(steps, record, launch, time.monotonic() + 50, lambda _: None)
    assert limits[0] == 5
    assert 0 < limits[1] <= 50


CUT_RUN = """
import signal, sys, time
from pathlib import Path
from benchmarks.gpu.record import Record
from benchmarks.gpu.run import apart, run_all
from tests.benchmarks.gpu.some_steps import step

signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
steps = [step("well"), step("hangs", most=500), step("refuses")]
record = Record(Path(sys.argv[1]), {}, steps, rehearsal=False)
run_all(steps, record, apart, time.monotonic() + 500, lambda _: None)
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_cut_still_tells(tmp_path: Path, how: signal.Signals) -> None:
    path = tmp_path / "card.json"
    run = subprocess.Popen([sys.executable, "-c", CUT_RUN, str(path)], cwd=ROOT)

    def pid_of_the_step() -> int | None:
        return path.exists() and json.loads(path.read_text())["steps"][1]["values"].get("pid")

    pid = eventually(pid_of_the_step)
    run.send_signal(how)
    run.wait(PATIENCE)
    try:
        first, second, third = json.loads(path.read_text())["steps"]
        assert (first["status"], first["values"]) == ("done", {"first": 1, "second": 2})
        assert (second["status"], second["error"], second["values"]) == ("failed", CUT, {"pid": pid})
        assert (third["status"], third["error"]) == ("skipped", NOT_REACHED)
        if how == signal.SIGTERM:
            assert not is_alive(pid), "the step outlives a run that was told to end"
    finally:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


def test_every_step_has_a_function_a_name_of_its_own_and_time_to_run() -> None:
    assert len({one.name for one in STEPS}) == len(STEPS)
    for one in STEPS:
        assert callable(one.load())
        assert one.does.endswith(".")
        assert one.least < one.most
