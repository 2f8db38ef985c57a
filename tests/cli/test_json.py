"""With --json stdout holds JSON and stderr nothing; without it a terminal sees progress on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import typer

from flowprior.cli import app
from flowprior.cli.commands import Commands
from flowprior.errors import CouplingError
from tests.cli.conftest import SHORT, Answer, Call

DESIGN = ["--data", "digits", "--prior", "gaussian", "--coupling", "condot", "--model", "mlp:width=8"]


GRID = ["--seeds", "1", "--steps", "2", "--samples", "20", "--nfe", "0", "--set", "curve.points=0"]
GRID += ["--set", "evaluation.metrics=['fid']", *DESIGN, *SHORT]
LONG: dict[str, list[str]] = {
    "train": [*DESIGN, "--steps", "2", *SHORT, "--out", "new"],
    "sample": ["RUN", "--nfe", "1", "--out", "samples.npz"],
    "evaluate": ["RUN", "--nfe", "0", "--samples", "20", "--metrics", "w2"],
    "compare": [*GRID, "--out", "compared"],
    "inspect": ["--prior", "gaussian", "--examples", "300", "--steps", "1"],
}
AT_ONCE = {"list", "info"}
each_command = pytest.mark.parametrize("name", LONG)


@pytest.fixture
def called(
    call: Call, run: Path, no_page: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Answer]:
    """A function that runs a command with the arguments of :data:`LONG`, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def of_name(name: str, *options: str) -> Answer:
        return call(name, *(run if word == "RUN" else word for word in LONG[name]), *options)

    return of_name


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """stderr is taken for a terminal."""
    monkeypatch.setattr("flowprior.progress.stages._in_terminal", lambda: True)


def test_every_command_with_the_option_is_looked_at_here() -> None:
    group: Any = typer.main.get_command(app)
    taking = {
        name
        for name in Commands.functions
        if any(parameter.name == "json" for parameter in group.get_command(None, name).params)
    }
    assert taking == {*LONG, *AT_ONCE}


@each_command
def test_with_json_a_terminal_sees_nothing_else(
    name: str, terminal: None, called: Callable[..., Answer]
) -> None:
    answer = called(name, "--json")
    assert (answer.code, answer.err) == (0, "")
    assert isinstance(json.loads(answer.out), dict)


@each_command
def test_without_it_a_terminal_sees_progress_on_stderr_alone(
    name: str, terminal: None, called: Callable[..., Answer]
) -> None:
    answer = called(name)
    assert answer.code == 0, answer.err
    assert (" [00:" in answer.err, " [00:" in answer.out.split("\n")[0]) == (True, False)


@pytest.mark.parametrize("name", sorted(AT_ONCE))
def test_what_answers_at_once_prints_json_alone(name: str, call: Call) -> None:
    answer = call(name, "--json")
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out)


def test_what_fails_beside_json_is_said(
    called: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Mock(side_effect=CouplingError("no plan"))
    monkeypatch.setattr("flowprior.study.running.complete_run", failing)
    answer = called("compare", "--json")
    assert (answer.code, json.loads(answer.out)["failed"]) == (1, 1)
    assert answer.err.splitlines() == ["failed gaussian + condot, seed 0: no plan"]


def test_an_option_after_json_that_is_refused_leaves_the_next_command_its_progress(
    terminal: None, called: Callable[..., Answer]
) -> None:
    assert called("sample", "--json", "--seed", "-1").code == 2
    assert " [00:" in called("sample").err
