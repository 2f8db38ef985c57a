"""With --json stdout holds JSON and stderr nothing; without it a terminal sees progress on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperCommand

from flowprior.cli import app
from flowprior.cli.commands import Commands
from tests.cli.conftest import SHORT, Call

Arguments = list[str | Path]
DESIGN = ["--data", "digits", "--prior", "gaussian", "--coupling", "condot", "--model", "mlp:width=8"]


def trains(run: Path, folder: Path) -> Arguments:
    return ["train", *DESIGN, "--steps", "2", *SHORT, "--out", folder / "new"]


def samples(run: Path, folder: Path) -> Arguments:
    return ["sample", run, "--nfe", "1", "--out", folder / "samples.npz"]


def evaluates(run: Path, folder: Path) -> Arguments:
    return ["evaluate", run, "--nfe", "0", "--samples", "20", "--metrics", "w2"]


def compares(run: Path, folder: Path) -> Arguments:
    sizes = ["--seeds", "1", "--steps", "2", "--samples", "20", "--nfe", "0", "--set", "curve.points=0"]
    sizes += ["--set", "evaluation.metrics=['fid']"]
    return ["compare", *DESIGN, *sizes, *SHORT, "--out", folder / "compared"]


def inspects(run: Path, folder: Path) -> Arguments:
    return ["inspect", "--prior", "gaussian", "--examples", "300", "--steps", "1"]


LONG = {
    "train": trains,
    "sample": samples,
    "evaluate": evaluates,
    "compare": compares,
    "inspect": inspects,
}
AT_ONCE = {"list", "info"}
each_command = pytest.mark.parametrize("arguments", LONG.values(), ids=LONG)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """stderr is taken for a terminal."""
    monkeypatch.setattr("flowprior.progress.stages._in_terminal", lambda: True)


def test_every_command_with_the_option_is_looked_at_here() -> None:
    group: Any = typer.main.get_command(app)
    taking = {name for name in Commands.functions if takes_json(group.get_command(None, name))}
    assert taking == {*LONG, *AT_ONCE}


def takes_json(command: TyperCommand) -> bool:
    return any(parameter.name == "json" for parameter in command.params)


@each_command
def test_with_json_a_terminal_sees_nothing_else(
    arguments: Callable[[Path, Path], Arguments], terminal: None, call: Call, run: Path, tmp_path: Path
) -> None:
    answer = call(*arguments(run, tmp_path), "--json")
    assert (answer.code, answer.err) == (0, "")
    assert isinstance(json.loads(answer.out), dict)


@each_command
def test_without_it_a_terminal_sees_progress_on_stderr_alone(
    arguments: Callable[[Path, Path], Arguments], terminal: None, call: Call, run: Path, tmp_path: Path
) -> None:
    answer = call(*arguments(run, tmp_path))
    assert answer.code == 0, answer.err
    assert (" [00:" in answer.err, " [00:" in answer.out.split("\n")[0]) == (True, False)


@pytest.mark.parametrize("name", sorted(AT_ONCE))
def test_what_answers_at_once_prints_json_alone(name: str, call: Call) -> None:
    answer = call(name, "--json")
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out)


def test_what_fails_beside_json_is_said(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flowprior.errors import CouplingError
    from flowprior.study import running

    def failing(*_: object) -> None:
        raise CouplingError("no plan")

    monkeypatch.setattr(running, "complete_run", failing)
    answer = call(*compares(tmp_path, tmp_path), "--json")
    assert (answer.code, json.loads(answer.out)["failed"]) == (1, 1)
    assert answer.err.splitlines() == ["failed gaussian + condot, seed 0: no plan"]


def test_an_option_after_json_that_is_refused_leaves_the_next_command_its_progress(
    terminal: None, call: Call, run: Path, tmp_path: Path
) -> None:
    assert call(*samples(run, tmp_path), "--json", "--seed", "-1").code == 2
    assert " [00:" in call(*samples(run, tmp_path)).err
