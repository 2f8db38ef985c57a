"""The page of deprecations and the code agree: each name on it warns, and nothing else in the code does."""

from __future__ import annotations

import ast
import re
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

import flowprior
import flowprior.couplings
import flowprior.metrics
from flowprior.metrics import SampleMetric
from flowprior.metrics.base import RENAMED
from tests.markdown_blocks import REPOSITORY

PAGE = (REPOSITORY / "docs" / "deprecations.md").read_text(encoding="utf-8")
CATEGORIES = ("DeprecationWarning", "FutureWarning")
NAMES = re.findall(r"^\| `(flowprior\.\S+)` \| `(flowprior\.\S+)` \| `(\w+)` \|", PAGE, re.MULTILINE)
ATTRIBUTES = re.findall(r"^\| a metric \| `(\w+)` \| `(\w+)` \|", PAGE, re.MULTILINE)
WARNING_FILES = {
    "couplings/__init__.py",
    "evaluation/__init__.py",
    "metrics/__init__.py",
    "metrics/base.py",
    "pictures/__init__.py",
    "priors/latent.py",
}
"""Those whose warnings the page describes: a new one wants a row on the page, and then a line here."""


def files_that_warn() -> set[str]:
    """Files of the package that call ``warnings.warn`` with one of the two categories."""
    package = Path(flowprior.__file__).parent
    return {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("warnings.warn", "warn")
        if {name.id for name in ast.walk(node) if isinstance(name, ast.Name)} & set(CATEGORIES)
    }


def resolve(name: str) -> Any:
    room, _, attribute = name.rpartition(".")
    return getattr(import_module(room), attribute)


def test_every_file_that_deprecates_something_is_known():
    assert files_that_warn() == WARNING_FILES


def test_the_page_lists_what_the_code_lists():
    old = {name for name, _, _ in NAMES}
    assert {f"flowprior.couplings.{name}" for name in flowprior.couplings.FORMER_NAMES} <= old
    assert {f"flowprior.metrics.{name}" for name in flowprior.metrics.RENAMED} <= old
    assert dict(ATTRIBUTES) == RENAMED
    assert "`flowprior.priors.LatentPrior`" in PAGE


@pytest.mark.parametrize(("old", "new", "category"), NAMES, ids=lambda value: value.rpartition(".")[2])
def test_an_old_name_works_and_warns_as_the_page_says(old, new, category, tmp_path):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = resolve(old)
        if category == "FutureWarning":
            found(
                tmp_path / "picture.png",
                torch.rand(12, 1, 4, 4) if "scatter" not in old else torch.rand(9, 2),
            )
    said = [
        each for each in seen if old.rpartition(".")[2] in str(each.message)
    ]  # others' warnings are not ours
    assert [warning.category.__name__ for warning in said] == [category]
    assert new.rpartition(".")[2] in str(said[0].message)
    replacement = resolve(new)
    assert found is replacement or (tmp_path / "picture.png").is_file()


def test_names_that_moved_are_found_where_they_were():
    with pytest.warns(
        DeprecationWarning, match=r"flowprior.evaluation.Wasserstein has moved to flowprior.metrics"
    ):
        assert resolve("flowprior.evaluation.Wasserstein") is flowprior.metrics.Wasserstein


@pytest.mark.parametrize(("old", "new"), ATTRIBUTES)
def test_a_metric_with_an_old_attribute_warns(old, new):
    with pytest.warns(DeprecationWarning, match=f"'{old}' is called '{new}' now"):
        made = type("Old", (SampleMetric,), {old: True})
    assert vars(made)[new] is True


def test_the_next_release_is_the_one_that_the_page_names():
    """A minor release takes the old names away: then page, code and this test change together."""
    release = re.search(
        r'^version = "(\d+)\.(\d+)', Path(REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE
    )
    assert release is not None
    major, minor = map(int, release.groups())
    assert f"work in {major}.{minor} and go in {major}.{minor + 1}." in PAGE
