"""The README does what it says: its code runs, its names exist, its files are there."""

from __future__ import annotations

import re
import tomllib

import pytest

from flowprior import Coupling, Path, Prior, Sampler
from flowprior.data import DATA
from flowprior.models import MODELS
from flowprior.samplers import TimeGrid
from flowprior.training import Callback, LossWeight, TimeDistribution
from tests.markdown_blocks import REPOSITORY, blocks, commands, run_python

README = REPOSITORY / "README.md"
FAMILIES = {
    "priors": Prior.registry,
    "couplings": Coupling.registry,
    "paths": Path.registry,
    "samplers": Sampler.registry,
    "grids": TimeGrid.registry,
    "times of training": TimeDistribution.registry,
    "weights of the loss": LossWeight.registry,
    "callbacks": Callback.registry,
    "models": MODELS,
    "data sets": DATA,
}


@pytest.mark.slow
def test_the_python_blocks_run(monkeypatch, tmp_path):
    monkeypatch.setattr(Prior.registry, "_records", dict(Prior.registry._records))
    monkeypatch.chdir(tmp_path)
    run_python(README)
    assert (tmp_path / "digits-flow" / "flow.json").is_file()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_table_of_components_lists_what_flowprior_registers(family):
    registry = FAMILIES[family]
    row = re.search(rf"^\| {family} \|(.*)\|$", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert row is not None
    ours = {
        record.name for record in registry.records() if record.factory.__module__.startswith("flowprior.")
    }
    assert set(re.findall(r"`([^`]+)`", row[1])) == ours


def test_entry_points_are_shown_under_groups_that_exist():
    groups = {registry.group for registry in FAMILIES.values()}
    for block in blocks(README, "toml"):
        assert set(tomllib.loads(block)["project"]["entry-points"]) <= groups


def test_make_targets_exist():
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    named = {words[1] for words in commands(README) if words[0] == "make"} | {"pictures"}
    assert {"demo", "test"} <= named
    for target in named:
        assert re.search(rf"^([\w-]+ )*{target}( [\w-]+)*:(?!.*=)", makefile, re.MULTILINE), f"make {target}"


def test_ci_begins_with_the_two_commands_and_runs_the_three_lines_of_use():
    scripts = "".join(
        (REPOSITORY / ".ci" / name).read_text(encoding="utf-8") for name in ("newcomer", "rest", "card")
    )
    for line in (
        r'for command in "make demo" "make test"; do',
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
