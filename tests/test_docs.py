"""The documentation's pages run, name what exists, promise what exists, and build without a warning."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import fields
from importlib import import_module

import pytest
import typer.main

from flowprior import paths
from flowprior.cli import app
from flowprior.couplings import Coupling
from flowprior.priors import Prior
from flowprior.training import TrainingConfig
from tests.markdown_blocks import REPOSITORY, blocks, commands, run_python

DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.glob("*.md"))
PEERS = {"from-torchcfm": "torchcfm", "from-flow-matching": "flow_matching", "from-zuko": "zuko"}
"""Pages whose code needs more than the test extra."""


@pytest.fixture(autouse=True)
def unchanged_registries(monkeypatch, tmp_path):
    """Pages may register components and write files; neither outlives the test."""
    for registry in (Prior.registry, Coupling.registry):
        monkeypatch.setattr(registry, "_records", dict(registry._records))
        monkeypatch.setattr(registry, "_aliases", dict(registry._aliases))
    monkeypatch.setenv("FLOWPRIOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem
)
def test_the_python_blocks_of_a_page_run_and_print_what_it_says(page):
    if page.stem in PEERS:
        pytest.importorskip(PEERS[page.stem], reason=f"{PEERS[page.stem]} is not installed")
    run_python(page)


COMMAND_LINE = typer.main.get_command(app)


def options_of(command):
    """The names of the options of a command."""
    found = COMMAND_LINE.get_command(None, command)
    assert found is not None, f"flowprior has no command {command}"
    return {name for parameter in found.params for name in parameter.opts}


@pytest.mark.parametrize("page", [*PAGES, REPOSITORY / "README.md"], ids=lambda page: page.stem)
def test_every_command_of_a_page_exists_with_its_options(page):
    for command, *words in (words[1:] for words in commands(page) if words[0] == "flowprior"):
        unknown = {word for word in words if word.startswith("-")} - options_of(command)
        assert {word for word in unknown if word.partition("=")[0] not in options_of(command)} == set()


def test_every_subpackage_that_names_something_for_users_has_a_page_of_its_api():
    pages = {page.stem for page in (DOCS / "api").glob("*.md")}
    inits = (REPOSITORY / "flowprior").glob("*/__init__.py")
    packages = {path.parent.name for path in inits if "__all__" in path.read_text(encoding="utf-8")}
    assert packages - {"cli"} <= pages, "the command line has a page of its own"


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path):
    """Without running the gallery, and away from what a build of the user's has left."""
    pytest.importorskip("sphinx_gallery", reason="the docs extra is not installed")
    for folder in ("docs", "examples"):
        generated = shutil.ignore_patterns("_build", "gallery", "cli.md")
        shutil.copytree(REPOSITORY / folder, tmp_path / folder, ignore=generated)
    html = tmp_path / "html"
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-D", "plot_gallery=0"]
    build += [str(tmp_path / "docs"), str(html)]
    run = subprocess.run(build, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "where a flow starts" in (html / "api" / "flowprior.html").read_text(encoding="utf-8")
    options = (html / "api" / "cli.html").read_text(encoding="utf-8")
    commands_shown = set(re.findall(r'<section id="flowprior-([\w-]+)"', options))
    assert commands_shown == set(COMMAND_LINE.list_commands(None))
    assert "--prior-guidance" in options
    index = (html / "api" / "index.html").read_text(encoding="utf-8")
    linked = set(re.findall(r'href="paths.html#flowprior.paths.(\w+)"', index))
    assert set(paths.__all__) <= linked
    assert "<mfrac>" in "".join(page.read_text(encoding="utf-8") for page in html.glob("*.html"))
    for page in html.rglob("*.html"):
        needed = re.findall(
            r"<(?:script|link|img)[^>]+(?:src|href)=\"https?://[^\"]+", page.read_text("utf-8")
        )
        assert not needed, f"{page.name} needs a network: {needed}"


# -- the page of expectations ---------------------------------------------------------------------


EXPECTATIONS = (REPOSITORY / "docs" / "expectations.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split(" | ")]
    for line in EXPECTATIONS.splitlines()
    if line.startswith("| ") and not line.startswith("| expectation")
]
NAMES = sorted(set(re.findall(r"\bflowprior(?:\.\w+)+", EXPECTATIONS)))


def test_every_row_is_done_otherwise_or_no_and_says_where_or_why():
    assert len(ROWS) > 40
    for expectation, state, reason in ROWS:
        assert state in ("done", "otherwise", "no"), expectation
        assert len(reason) > 10, expectation


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_package_exists(name):
    room, _, attribute = name.rpartition(".")
    try:
        import_module(name)
    except ModuleNotFoundError:
        assert hasattr(import_module(room), attribute), name


def test_every_setting_of_a_training_exists():
    known = {field.name for field in fields(TrainingConfig)}
    named = set(re.findall(r"`training\.(\w+)", EXPECTATIONS)) | {"final_lr", "clip"}
    assert len(named) > 8
    assert named <= known
