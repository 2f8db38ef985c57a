"""What a release says of itself: metadata, citation, files, and the packages that it needs."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest

from flowprior.errors import EXTRAS
from tests.markdown_blocks import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_extra_all_has_every_extra_of_a_run() -> None:
    extras = PROJECT["optional-dependencies"]
    (line,) = extras["all"]
    named = re.fullmatch(r"flowprior\[([\w,-]+)\]", line)
    assert named is not None, line
    assert named[1].split(",") == sorted(set(extras) - {"all", "test", "docs", "benchmark"})


def test_the_citation_is_of_this_version_and_these_authors() -> None:
    citation = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {PROJECT['version']}\n" in citation
    assert [f'  - name: "{author["name"]}"' for author in PROJECT["authors"]] == re.findall(
        r"^  - name: .*$", citation, re.MULTILINE
    )
    licences = re.search(r"^license:\n((?:  - .*\n)+)", citation, re.MULTILINE)
    assert licences is not None
    assert licences[1].split()[1::2] == PROJECT["license"].split(" AND ")
    assert set(PROJECT["keywords"]) == set(re.findall(r"^  - ([a-z ]+)$", citation, re.MULTILINE))


@pytest.mark.parametrize("name", ["SECURITY.md", "CONTRIBUTING.md", "CITATION.cff"])
def test_nothing_invents_an_address_and_links_lead_to_files(name: str) -> None:
    assert (PROJECT["authors"], "urls" in PROJECT) == ([{"name": "flowprior contributors"}], False)
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    assert re.findall(r"https?://|\S+@\S+\.\w+", text) == []
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert [link for link in links if not (REPOSITORY / link).exists()] == []


def test_the_classifiers_begin_with_the_python_that_is_required() -> None:
    minors = [int(minor) for minor in re.findall(r":: 3\.(\d+)$", "\n".join(PROJECT["classifiers"]), re.M)]
    assert minors == list(range(minors[0], minors[0] + len(minors)))
    assert PROJECT["requires-python"] == f">=3.{minors[0]}"
    assert "Typing :: Typed" in PROJECT["classifiers"]
    assert files("flowprior").joinpath("py.typed").is_file()


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("import flowprior", set()),
        (
            "from flowprior import Coupling, Flow, Prior, train",
            {"torch", "numpy", "filelock", "pydantic", "safetensors", "tomli_w", "tqdm"},
        ),
    ],
)
def test_what_an_import_loads_of_the_dependencies(line: str, allowed: set[str]) -> None:
    names = {re.match(r"[\w-]+", each)[0] for each in PROJECT["dependencies"]}  # type: ignore[index]
    others = {"scikit-learn": "sklearn", "pot": "ot"}
    modules = {others.get(name, name.replace("-", "_")) for name in names}
    program = f"import sys; {line}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert modules & set(run.stdout.split()) <= allowed


# -- what is imported is declared -----------------------------------------------------------------


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
            {*PEERS, "diffusers", "lightning"},
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
