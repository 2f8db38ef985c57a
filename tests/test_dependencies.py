"""What is imported is declared as a dependency or in an extra, and messages name the same packages."""

from __future__ import annotations

import ast
import re
import shlex
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from flowprior.errors import EXTRAS
from tests.markdown_blocks import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OPTIONAL: dict[str, list[str]] = PROJECT["optional-dependencies"]
NOT_OF_A_RUN = {"all", "test", "docs", "benchmark"}
NAMES = {"pil": "pillow", "ot": "pot", "sklearn": "scikit-learn", "yaml": "pyyaml"}
"""Module -> the package that brings it, where the two have different names."""
OURS = {"flowprior", "tests", "benchmarks", "csrc", *(path.stem for path in REPOSITORY.glob("docs/*/*.py"))}
PEERS_LIST = (REPOSITORY / "benchmarks" / "peers.txt").read_text(encoding="utf-8")
PEERS = {name.replace("_", "-") for name in re.findall(r"^(\w+)==", PEERS_LIST, re.MULTILINE)}
BROKEN = "a-library-that-nobody-has"  # a plug-in of the tests fails with it
BY_NAME = re.compile(r'\bimport_module\("([\w.]+)"\)')
SKIPS = re.compile(r'\bimportorskip\(\s*"([\w.]+)"')


def plain(name: str) -> str:
    """A package's or module's name as an index compares it."""
    plain = name.split(".")[0].lower().replace("_", "-")
    return NAMES.get(plain, plain)


def declared(*extras: str) -> set[str]:
    """Packages of the dependencies and of ``extras``."""
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in OPTIONAL[extra])]
    return {plain(re.split(r"[^\w.-]", line)[0]) for line in lines}


@cache
def imported(path: Path) -> set[str]:
    """Packages that a file imports, wherever it does; ours and Python's own are left out."""
    text = path.read_text(encoding="utf-8")
    names = set(BY_NAME.findall(text))
    if "pytest.mark.benchmark" in text:
        names.add("pytest_benchmark")  # --strict-markers refuses the mark without it
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module or "")
    tops = {name.split(".")[0] for name in names}
    return {plain(top) for top in tops - sys.stdlib_module_names - OURS}


@pytest.mark.parametrize(
    ("folders", "extras", "others"),
    [
        (["flowprior"], EXTRAS, {"ipython"}),  # which is there before flowprior where a kernel runs
        (["tests", "benchmarks/operators"], ["test"], {BROKEN}),
        (
            ["docs", "examples"],
            ["docs"],
            {*PEERS, "lightning"},
        ),  # where examples run
        (["benchmarks"], ["benchmark"], {*PEERS, "rdata"}),  # of which the error of one study says so
    ],
    ids=["package", "tests", "documentation", "benchmarks"],
)
def test_what_is_imported_comes_with_an_extra_or_is_done_without(
    folders: list[str], extras: list[str], others: set[str]
) -> None:
    """A test that skips without a package needs none."""
    brought, missing = declared(*extras) | others, {}
    for path in (path for folder in folders for path in (REPOSITORY / folder).rglob("*.py")):
        skipped = set(map(plain, SKIPS.findall(path.read_text(encoding="utf-8"))))
        missing[str(path)] = imported(path) - brought - skipped
    assert {path: names for path, names in missing.items() if names} == {}


def test_messages_name_the_packages_that_the_extras_declare() -> None:
    """One by one; with the version where one is pinned or bounded from above."""
    assert set(OPTIONAL) - {*NOT_OF_A_RUN, "emoji"} == set(EXTRAS)
    for extra, words in EXTRAS.items():
        lines = [line if re.search("==|<", line) else line.split(">=")[0] for line in OPTIONAL[extra]]
        assert shlex.split(words) == lines


@pytest.mark.parametrize("folder", ["docs", "flowprior", "examples"])
def test_nobody_is_sent_to_an_index_that_has_no_flowprior(folder: str) -> None:
    pages = [path for end in ("md", "py") for path in (REPOSITORY / folder).rglob(f"*.{end}")]
    wrong = re.compile(r"pip install (?:-\S+ )*'?flowprior(?!-\d)")
    assert [
        path for path in (*pages, *REPOSITORY.glob("*.md")) if wrong.search(path.read_text("utf-8"))
    ] == []
