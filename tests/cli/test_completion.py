"""The shell completes commands, options and names of components, and torch is not imported for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from flowprior.cli.names import completing, names_of
from tests.cli.conftest import Call


def completed(line: str) -> list[str]:
    """What bash is told for ``line``, in a process that must not import torch."""
    program = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\n"
        "from flowprior.cli import main\nmain([])\n"
    )
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    environment = {**os.environ, "_FLOWPRIOR_COMPLETE": "complete_bash", **words}
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    )
    assert answer.stderr.strip() == "False", answer.stderr
    return answer.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flowprior tra", ["train", "train-encoder"]),
        ("flowprior train --pri", ["--prior"]),
        ("flowprior train --prior au", ["auto"]),
        ("flowprior train --coupling semi", ["semidiscrete"]),
        ("flowprior inspect --prior g", ["gaussian", "gmm"]),
        ("flowprior sample runs/x --sampler mid", ["midpoint"]),
        ("flowprior train --data dig", ["digits"]),
        ("flowprior compare --model un", ["unet"]),
        ("flowprior list pri", ["priors"]),
        ("flowprior list priors g", ["gaussian", "gmm"]),
        ("flowprior list prior gm", ["gmm"]),
    ],
)
def test_what_was_begun_is_completed(line: str, expected: list[str]) -> None:
    assert completed(line) == expected


def test_a_word_that_stands_for_a_component_is_completed_too() -> None:
    assert completing("priors", "auto")("") == ["auto", *names_of("priors")]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_shown(call: Call, shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    answer = call("--show-completion", shell)
    assert answer.code == 0
    assert "_COMPLETE" in answer.out
    assert shell in answer.out


@pytest.mark.parametrize("arguments", [["-h"], ["train", "-h"], ["list", "-h"]])
def test_h_is_help(call: Call, arguments: list[str]) -> None:
    answer = call(*arguments)
    assert (answer.code, "Usage: " in answer.out) == (0, True)


def test_capital_v_is_the_version(call: Call) -> None:
    assert call("-V").out == call("--version").out
