"""The page of expectations promises only names, options, extras and settings that exist."""

from __future__ import annotations

import re
from dataclasses import fields
from importlib import import_module

import pytest

from flowprior.training import TrainingConfig
from tests.markdown_blocks import REPOSITORY

PAGE = (REPOSITORY / "docs" / "expectations.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| expectation")
]
NAMES = sorted(set(re.findall(r"\bflowprior(?:\.\w+)+", PAGE)))


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
    named = set(re.findall(r"`training\.(\w+)", PAGE)) | {"final_lr", "clip"}
    assert len(named) > 8
    assert named <= known
