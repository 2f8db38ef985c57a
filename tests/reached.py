"""A pytest plugin that records which tests reach an operator or skip, and repeats those alone.

``pytest -p tests.reached --record=FILE`` writes one line a test, ``reached`` or ``skipped`` and its id; each
worker writes a file of its own beside ``FILE``. ``--repeat=FILE --which=reached`` runs the tests that were
recorded so: those whose result may depend on whether operators run natively. ``--which=skipped`` runs what
skipped, for an environment that has more packages, and the tests marked slow.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior.ops import operators

STARTS_A_PROCESS = ("subprocess.Popen", "os.posix_spawn", "os.fork")


class Recorder:
    """Notes each test whose own code, fixtures or child processes ask where an operator runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reached = False
        self.fixtures: set[Any] = set()
        self.patch = pytest.MonkeyPatch()

    def note(self) -> None:
        if not torch.compiler.is_compiling():
            self.reached = True

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """A fixture that reaches an operator counts for every test that uses it, not for the first alone."""
        before, self.reached = self.reached, False
        try:
            return (yield)
        finally:
            if self.reached:
                self.fixtures.add(fixturedef)
            self.reached |= before

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[Any]:
        self.reached = False
        result = yield
        used = getattr(item, "_fixtureinfo", None)
        shared = {last for found in (used.name2fixturedefs.values() if used else ()) for last in found}
        if self.reached or shared & self.fixtures:
            self.write("reached", item.nodeid)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self.write("skipped", report.nodeid)

    def pytest_unconfigure(self) -> None:
        self.patch.undo()

    def write(self, outcome: str, nodeid: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{outcome}\t{nodeid}\n")

    def watch(self) -> None:
        """Wrap what decides where an operator runs, until the run of the tests ends."""
        is_native = operators.is_native

        def watched_is_native(device: torch.device) -> bool:
            self.note()
            return is_native(device)

        self.patch.setattr(operators, "is_native", watched_is_native)
        sys.addaudithook(lambda event, _: self.note() if event in STARTS_A_PROCESS else None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", type=Path, help="file to which outcomes are written, one a worker")
    parser.addoption("--repeat", type=Path, help="file that an earlier run recorded")
    parser.addoption("--which", choices=("reached", "skipped"), default="reached", help="the tests to repeat")


def pytest_configure(config: pytest.Config) -> None:
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if (path := config.option.record) and (worker or not getattr(config.option, "numprocesses", None)):
        recorder = Recorder(path.with_name(f"{path.name}.{worker or 'main'}"))
        recorder.path.unlink(missing_ok=True)
        recorder.watch()
        config.pluginmanager.register(recorder)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests that the record names, in their order."""
    if (path := config.option.repeat) is None:
        return
    files = sorted(path.parent.glob(f"{path.name}.*"))
    if not files:
        raise pytest.UsageError(
            f"--repeat: expected a record {path}.*, found none; run with --record={path} first"
        )
    which = config.option.which
    texts = [file.read_text(encoding="utf-8") for file in files]
    lines = [line.split("\t", 1) for text in texts for line in text.split("\n") if line]
    wanted = {nodeid for outcome, nodeid in lines if outcome == which}
    slow = which == "skipped"
    kept = [item for item in items if item.nodeid in wanted or (slow and item.get_closest_marker("slow"))]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept
