"""The shell completes commands, options and names of components, and torch is not imported for it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer.main
import typer.testing

from flowprior.cli.names import names_of
from flowprior.cli.spec_completion import completing
from tests.cli.conftest import Call, FirstList

COVARIANCES = ("diag", "spherical", "full", "tied", "lowrank")


PROGRAM = """
import contextlib, io, json, os, sys
from flowprior.cli import main
for words in json.load(sys.stdin):
    os.environ.update(words)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            code = main([])
        except SystemExit as end:
            code = end.code
    assert not code, code
    print(json.dumps(out.getvalue()))
assert "torch" not in sys.modules
"""


def answers(shell: str, *told: dict[str, str]) -> list[str]:
    """What a shell gets for each of these sets of variables, of one process that must not import torch."""
    words = json.dumps([{"_FLOWPRIOR_COMPLETE": f"complete_{shell}", **own} for own in told])
    command = [sys.executable, "-c", PROGRAM]
    answer = subprocess.run(command, input=words, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, ""), answer.stderr
    return [json.loads(line) for line in answer.stdout.splitlines()]


def completed(*lines: str) -> dict[str, list[str]]:
    """Line -> what bash is told for it."""
    told = [{"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)} for line in lines]
    return dict(zip(lines, map(str.split, answers("bash", *told)), strict=True))


BEGUN = [
    ("flowprior tra", ["train", "train-encoder"]),
    ("flowprior train --pri", ["--prior"]),
    ("flowprior train --model au", ["auto"]),
    ("flowprior train --coupling semi", ["semidiscrete"]),
    ("flowprior inspect --prior g", ["gaussian", "gmm"]),
    ("flowprior sample runs/x --sampler mid", ["midpoint"]),
    ("flowprior train --data dig", ["digits"]),
    ("flowprior compare --model un", ["unet"]),
    ("flowprior list pri", ["priors"]),
    ("flowprior list priors g", ["gaussian", "gmm"]),
    ("flowprior list prior gm", ["gmm"]),
]


@pytest.fixture(scope="module")
def begun() -> dict[str, list[str]]:
    return completed(*(line for line, _ in BEGUN))


@pytest.mark.parametrize(("line", "expected"), BEGUN)
def test_what_was_begun_is_completed(begun: dict[str, list[str]], line: str, expected: list[str]) -> None:
    assert begun[line] == expected


def test_a_word_that_stands_for_a_component_is_completed_too() -> None:
    assert completing("couplings", "auto")("") == ["auto", *names_of("couplings")]


@pytest.fixture(scope="module")
def listed(first_list: FirstList) -> Iterator[None]:
    """The list of components lies in a cache of its own, as after ``flowprior list``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWPRIOR_CACHE", str(first_list.cache))
        yield


def parted(line: str) -> str:
    """The line as bash hands it on: words end at ``:`` and ``=``."""
    return re.sub("([:=])", r" \1 ", line).replace("  ", " ").rstrip()


SPECS = [
    ("train --prior gmm:comp", ["gmm:components="]),
    ("train --prior mixture:ti", []),
    ("train --prior gmm:components=8,cov", ["gmm:components=8,covariance="]),
    ("train --prior gmm:components=8,comp", []),
    ("train --prior gmm:components=", []),
    ("train --prior gmm:covariance=", [f"gmm:covariance={kind}" for kind in COVARIANCES]),
    ("train --prior gmm:rank=4,covariance=lo", ["gmm:rank=4,covariance=lowrank"]),
    ("train --prior learned-mean:keep_conditions=t", ["learned-mean:keep_conditions=true"]),
    ("train --prior nothing:", []),
    ("train --data emoji:captions=uns", ["emoji:captions=unseen"]),
    ("compare --prior two=gmm:comp", ["two=gmm:components="]),
    ("compare --prior two=gm", ["two=gmm"]),
    ("compare --coupling ot:me", ["ot:method="]),
]


@pytest.fixture(scope="module")
def in_bash(listed: None) -> dict[str, list[str]]:
    return completed(*(parted(f"flowprior {line}") for line, _ in SPECS))


@pytest.fixture(scope="module")
def in_zsh(listed: None) -> dict[str, str]:
    told = [{"_TYPER_COMPLETE_ARGS": f"flowprior {line}"} for line, _ in SPECS]
    return dict(zip((line for line, _ in SPECS), answers("zsh", *told), strict=True))


@pytest.mark.parametrize(("line", "expected"), SPECS, ids=[line for line, _ in SPECS])
def test_bash_completes_inside_a_spec_what_follows_the_last_break(
    in_bash: dict[str, list[str]], line: str, expected: list[str]
) -> None:
    known = 1 + max(map(line.split()[-1].rfind, ":="))
    assert in_bash[parted(f"flowprior {line}")] == [word[known:] for word in expected]


@pytest.mark.parametrize(("line", "expected"), SPECS, ids=[line for line, _ in SPECS])
def test_zsh_completes_inside_a_spec_the_whole_word(
    in_zsh: dict[str, str], line: str, expected: list[str]
) -> None:
    assert re.findall('"(.+?)"', in_zsh[line].replace(r"\\:", ":")) == expected


def test_the_module_answers_a_shell(listed: None) -> None:
    words = {
        "_FLOWPRIOR_COMPLETE": "complete_bash",
        "COMP_WORDS": "flowprior train --prior gm",
        "COMP_CWORD": "3",
    }
    command = [sys.executable, "-m", "flowprior"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **words})
    assert answer.stdout.split() == ["gmm"]


def test_an_option_and_its_value_in_one_word_are_completed_in_bash(listed: None) -> None:
    lines = ["train --prior=gmm:comp", "train --prior=gm", "train --prior gmm:components=8 --coup"]
    found = completed(*(parted(f"flowprior {line}") for line in lines))
    assert [*found.values()] == [["components="], ["gmm"], ["--coupling"]]


def test_a_bash_that_parts_no_words_at_colons_gets_whole_ones(listed: None) -> None:
    line = "flowprior train --prior gmm:comp"
    assert completed(line)[line] == ["gmm:components="]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_shown(call: Call, shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    monkeypatch.setattr(typer.testing, "_get_command", typer.main.get_command)  # made anew, for this setting
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
