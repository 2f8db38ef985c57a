"""The Dockerfile copies files that exist and runs the commands of ``make demo``; what it copies is enough."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.markdown_blocks import REPOSITORY

LINES = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").splitlines()
BUILT = ("*.so", "_build.json", "__pycache__")
HOOK = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


def instructions(name: str) -> list[str]:
    return [line.removeprefix(f"{name} ") for line in LINES if line.startswith(f"{name} ")]


def copied() -> list[tuple[str, str]]:
    """(source, target) of everything that is copied."""
    words = [line.split() for line in instructions("COPY")]
    return [(source, target) for *sources, target in words for source in sources]


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_its_commands_and_variables_are_those_of_make_demo() -> None:
    command = ["make", "--no-print-directory", "--dry-run", "--always-make", "demo", "VENV=.venv"]
    shown = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    made = [shlex.split(re.sub(r"^/\S*/", "", line)) for line in shown.splitlines()]
    ran = [*map(shlex.split, instructions("RUN")), json.loads(instructions("CMD")[0])]
    assert ran == [words for words in made if words[0] != "rm"]
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    variables = re.findall(r"^demo test test-all: export (\w+) = (\w+)$", makefile, re.MULTILINE)
    assert shlex.split(instructions("ENV")[0]) == [f"{name}={value}" for name, value in variables]


def test_every_file_that_it_copies_exists_and_is_not_ignored() -> None:
    kept = {
        line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    assert {source for source, _ in copied()} == kept
    assert [name for name in kept if not (REPOSITORY / name).exists()] == []


def test_what_it_copies_is_enough_to_install_and_to_run(tmp_path: Path) -> None:
    for source, target in copied():
        place = tmp_path / (source if target == "./" else target)
        if (REPOSITORY / source).is_dir():
            shutil.copytree(REPOSITORY / source, place, ignore=shutil.ignore_patterns(*BUILT))
        else:
            place.parent.mkdir(exist_ok=True)
            shutil.copy(REPOSITORY / source, place)
    variables = {**os.environ, "FLOWPRIOR_BUILD": "none", "PYTHONPATH": str(tmp_path)}

    def python(*words: str) -> str:
        run = [sys.executable, *words]
        return subprocess.run(
            run, cwd=tmp_path, env=variables, capture_output=True, text=True, check=True
        ).stdout

    assert "--steps" in python("benchmarks/demo.py", "--help")
    (tmp_path / "out").mkdir()
    wheel = python("-c", HOOK, "out").splitlines()[-1]
    with zipfile.ZipFile(tmp_path / "out" / wheel) as archive:
        names = set(archive.namelist())
    assert {"flowprior/py.typed", "flowprior/report/page.css"} <= names
    assert "flowprior/extensions/text/embedded/emoji.npz" in names
    assert "flowprior/features/weights/digits-f607d1b6.safetensors" in names
