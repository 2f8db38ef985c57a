"""The shell completes commands and names; help, version and mistakes start without torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer.main
import typer.testing

import flowprior
from flowprior.cli.app import app
from tests.cli.conftest import Call

PROGRAM = """
import contextlib, io, json, os, sys
from flowprior.cli import main
for words, arguments in json.load(sys.stdin):
    os.environ.update(words)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code
    assert not code, code
    print(json.dumps(out.getvalue()))
heavy = {"torch", "scipy", "ot", "sklearn", "matplotlib", "torchvision"} & set(sys.modules)
assert not heavy, heavy
"""


BEGUN = [
    ("flowprior tra", ["train", "train-encoder"]),
    ("flowprior train --pri", ["--prior"]),
    ("flowprior train --model au", ["auto"]),
    ("flowprior train --coupling semi", ["semidiscrete"]),
    ("flowprior inspect --prior g", ["gaussian", "gmm", "gp"]),
    ("flowprior sample runs/x --sampler mid", ["midpoint"]),
    ("flowprior train --data dig", ["digits"]),
    ("flowprior compare --model un", ["unet"]),
    ("flowprior list pri", ["priors"]),
    ("flowprior list priors g", ["gaussian", "gmm", "gp"]),
    ("flowprior list prior gm", ["gmm"]),
]


@pytest.fixture(scope="module")
def begun() -> dict[str, list[str]]:
    """Line -> what bash is told, and option -> its answer, by one process that must not import torch."""
    asked: dict[str, tuple[dict[str, str], list[str]]] = {
        name: ({}, [name]) for name in ("--help", "--version")
    }
    for line, _ in BEGUN:
        words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        asked[line] = ({"_FLOWPRIOR_COMPLETE": "complete_bash", **words}, [])
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(list(asked.values())),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (answer.returncode, answer.stderr) == (0, ""), answer.stderr
    found = [json.loads(line).split() for line in answer.stdout.splitlines()]
    return dict(zip(asked, found, strict=True))


@pytest.mark.parametrize(("line", "expected"), BEGUN)
def test_what_was_begun_is_completed(begun: dict[str, list[str]], line: str, expected: list[str]) -> None:
    assert begun[line] == expected


def test_help_and_version_start_without_torch(begun: dict[str, list[str]]) -> None:
    assert "evaluate" in begun["--help"]
    assert begun["--version"][0] == "flowprior"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_shown(call: Call, shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    monkeypatch.setattr(typer.testing, "_get_command", typer.main.get_command)  # made anew, for this setting
    answer = call("--show-completion", shell)
    assert answer.code == 0
    assert "_COMPLETE" in answer.out
    assert shell in answer.out


@pytest.mark.parametrize("arguments", [["-h"], ["train", "-h"], ["list", "-h"]])
def test_h_is_help_and_capital_v_the_version(call: Call, arguments: list[str]) -> None:
    answer = call(*arguments)
    assert (answer.code, "Usage: " in answer.out) == (0, True)
    assert call("-V").out == call("--version").out


@pytest.mark.parametrize("name", ["train", "sample", "evaluate", "compare"])
def test_the_help_of_a_command_with_many_options_has_them_in_groups(name: str) -> None:
    found = typer.main.get_command(app).get_command(None, name).params  # type: ignore[union-attr]
    options = [own for own in found if own.param_type_name == "option" and own.name not in ("json", "help")]
    assert [own.name for own in options if not own.rich_help_panel] == []  # type: ignore[union-attr]
    assert len({own.rich_help_panel for own in options}) == 3  # type: ignore[union-attr]


# -- processes of their own -----------------------------------------------------------------------


def test_the_module_answers_a_mistake_in_one_line_without_torch() -> None:
    words = [sys.executable, "-X", "importtime", "-m", "flowprior", "trian"]
    answer = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    imported, said = (
        [line for line in answer.stderr.splitlines() if line.startswith("import time:") == timed]
        for timed in (True, False)
    )
    assert (answer.returncode, answer.stdout) == (2, "")
    assert [line.startswith("flowprior: error: no such command 'trian'") for line in said] == [True]
    assert not any(line.split("|")[-1].strip() == "torch" for line in imported)


def test_the_public_names_are_there() -> None:
    assert all(hasattr(flowprior, name) for name in flowprior.__all__)
    assert not hasattr(flowprior, "nothing")
