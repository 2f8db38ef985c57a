"""A way to call the command line in this process, and one small run that many tests look at."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import typer.testing
from typer.testing import CliRunner

from flowprior.cli import app
from tests.study.conftest import no_page

__all__ = ["no_page"]

# Typer makes the command anew at every call, which takes longer than most calls of the tests.
typer.testing._get_command = functools.cache(typer.main.get_command)

SHORT = ["--set", "training.batch_size=16", "--set", "training.warmup=2", "--set", "training.device=cpu"]


@dataclass(frozen=True)
class Answer:
    """Exit code and both streams of one call."""

    code: int
    out: str
    err: str


Call = Callable[..., Answer]


def call_app(*arguments: str | Path) -> Answer:
    """Run the command line in this process; anything but a clean exit is raised.

    Warnings are shown as a process of its own shows them, whatever the filters of the test run.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Answer(result.exit_code, result.stdout, result.stderr)


def succeed(*arguments: str | Path) -> Answer:
    """Run the command line, which is to succeed."""
    answer = call_app(*arguments)
    assert answer.code == 0, answer.err
    return answer


def drawn(run: Path, file: Path, *options: str | Path) -> dict[str, np.ndarray]:
    """Draw samples of a run into a file of arrays, and read it."""
    succeed("sample", run, "--out", file, *options)
    with np.load(file) as stored:
        return dict(stored)


@pytest.fixture
def call() -> Call:
    """The command line."""
    return call_app


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on digits."""
    return _trained(tmp_path_factory.mktemp("runs") / "digits")


@pytest.fixture(scope="session")
def guided_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with conditions dropped, as guidance needs it."""
    dropout = ["--set", "training.condition_dropout=0.2"]
    return _trained(tmp_path_factory.mktemp("runs") / "guided", *dropout)


def _trained(out: Path, *options: str) -> Path:
    parts = ["--data", "digits", "--prior", "gmm", "--coupling", "condot", "--model", "mlp:width=32"]
    succeed("train", *parts, "--out", out, "--steps", "12", *SHORT, *options)
    return out
