"""The README does what it says: its code runs, its names exist, its files are there."""

from __future__ import annotations

import re
import tomllib

import pytest
import torch

from flowprior import Prior
from flowprior.cli.catalogue import FAMILIES, registry_of
from tests.markdown_blocks import REPOSITORY, blocks, commands, run_python

README, PLUGINS = REPOSITORY / "README.md", REPOSITORY / "docs" / "plugins.md"
ROWS = (
    "priors",
    "couplings",
    "paths",
    "samplers",
    "grids",
    "times",
    "weights",
    "callbacks",
    "models",
    "data",
)
"""The families of the README's table of components, in the order of its rows."""
TITLES = {"times": "times of training", "weights": "weights of the loss", "data": "data sets"}


@pytest.mark.slow
def test_the_python_blocks_run(monkeypatch, tmp_path):
    monkeypatch.setattr(Prior.registry, "_records", dict(Prior.registry._records))
    monkeypatch.chdir(tmp_path)
    run_python(README)
    assert (tmp_path / "digits-flow" / "flow.json").is_file()


def test_the_lines_for_a_loop_of_ones_own_run():
    """They draw source samples that are nearer to the data of their labels than N(0, I) is."""
    names: dict = {}
    exec(blocks(README, "python")[0], names)
    x1, x0, start = (names[name].flatten(1) for name in ("x1", "x0", "start"))
    usual = (torch.randn_like(x1) - x1).norm(dim=1).mean()
    assert (x0 - x1).norm(dim=1).mean() < usual / 2
    assert (start - x1).norm(dim=1).mean() < usual / 2


def test_extras_are_installed_from_the_checkout_and_exist():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed = re.findall(r"pip install '?([\w.]*)\[([\w,]+)\]", README.read_text(encoding="utf-8"))
    assert installed
    for what, extras in installed:
        assert what == "."
        assert set(extras.split(",")) <= set(project["optional-dependencies"])


@pytest.mark.parametrize("family", ROWS)
def test_the_table_of_components_lists_what_flowprior_registers(family):
    registry = registry_of(family)
    row = re.search(
        rf"^\| {TITLES.get(family, family)} \|(.*)\|$", README.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert row is not None
    ours = {
        name
        for name in registry.available()
        if registry.record(name).factory.__module__.startswith("flowprior.")
    }
    assert set(re.findall(r"`([^`]+)`", row[1])) == ours


def test_entry_points_are_shown_under_groups_that_exist():
    groups = {registry_of(family).group for family in FAMILIES}
    groups |= {"flowprior.commands", "flowprior.options", "flowprior.readers"}
    shown = [tomllib.loads(block)["project"] for block in blocks(PLUGINS, "toml")]
    assert shown
    for project in shown:
        assert set(project["entry-points"]) <= groups


def test_make_targets_exist():
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    named = {words[1] for words in commands(README) if words[0] == "make"} | {"pictures"}
    assert {"demo", "test"} <= named
    for target in named:
        assert re.search(rf"^([\w-]+ )*{target}( [\w-]+)*:(?!.*=)", makefile, re.MULTILINE), f"make {target}"


def test_ci_begins_with_the_two_commands_and_runs_the_three_lines_of_use():
    scripts = "".join(
        (REPOSITORY / ".ci" / name).read_text(encoding="utf-8") for name in ("newcomer", "card", "rest")
    )
    for line in (
        r'for command in "make demo" "the next command of make demo" "make test"; do',
        r"from flowprior import Prior, Coupling, train",
        r"\s*flowprior train --prior gmm --coupling condot",
        r".* pytest benchmarks --benchmark-only",
    ):
        assert re.search(rf"^{line}$", scripts, re.MULTILINE), line


def test_links_lead_to_files():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text(encoding="utf-8"))
    assert len(links) > 5
    missing = [link for link in links if not (REPOSITORY / link).exists()]
    assert missing == []


def test_the_picture_is_small_enough_to_commit():
    assert 10_000 < (REPOSITORY / "docs" / "images" / "trajectories.png").stat().st_size < 200_000


def test_every_defect_is_listed_with_a_test_that_exists():
    text = (REPOSITORY / "tests" / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::\w+)*::(\w+)`", text)
    assert len(named) > 40
    for file, test in named:
        assert f"def {test}(" in (REPOSITORY / file).read_text(encoding="utf-8"), f"{file}::{test}"
