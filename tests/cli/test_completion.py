"""The shell completes commands, options and names of components, and torch is not imported for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from flowprior.cli.names import names_of
from flowprior.cli.spec_completion import completing
from tests.cli.conftest import Call

COVARIANCES = ("diag", "spherical", "full", "tied", "lowrank")


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


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The list of components lies in a cache of its own, as after ``flowprior list``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWPRIOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        command = [sys.executable, "-m", "flowprior", "list", "priors"]
        subprocess.run(command, capture_output=True, check=True)
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
    ("train --prior shifted:scale=t", ["shifted:scale=true"]),
    ("train --prior nothing:", []),
    ("train --data moons:noise_law=g", ["moons:noise_law=gaussian"]),
    ("compare --prior two=gmm:comp", ["two=gmm:components="]),
    ("compare --prior two=gm", ["two=gmm"]),
    ("compare --coupling ot:me", ["ot:method="]),
]


@pytest.mark.parametrize(("line", "expected"), SPECS, ids=[line for line, _ in SPECS])
def test_bash_completes_inside_a_spec_what_follows_the_last_break(
    listed: None, line: str, expected: list[str]
) -> None:
    known = 1 + max(map(line.split()[-1].rfind, ":="))
    assert completed(parted(f"flowprior {line}")) == [word[known:] for word in expected]


@pytest.mark.parametrize(("line", "expected"), SPECS, ids=[line for line, _ in SPECS])
def test_zsh_completes_inside_a_spec_the_whole_word(
    listed: None, line: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_FLOWPRIOR_COMPLETE", "complete_zsh")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", f"flowprior {line}")
    command = [sys.executable, "-m", "flowprior"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert re.findall('"(.+?)"', answer.replace(r"\\:", ":")) == expected


def test_an_option_and_its_value_in_one_word_are_completed_in_bash(listed: None) -> None:
    assert completed(parted("flowprior train --prior=gmm:comp")) == ["components="]
    assert completed(parted("flowprior train --prior=gm")) == ["gmm"]
    assert completed("flowprior train --prior gmm : components = 8 --coup") == ["--coupling"]


def test_a_bash_that_parts_no_words_at_colons_gets_whole_ones(listed: None) -> None:
    assert completed("flowprior train --prior gmm:comp") == ["gmm:components="]


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
