"""Cells that a study has left in a folder."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from benchmarks.studies.results_page import read_study
from flowprior.evaluation.result import Result
from tests.words import words

__all__ = ["cells_of", "read_stored", "words"]

read_stored = cache(read_study)
"""A study of ``RESULTS``, which no test changes, read once for all tests."""


def cells_of(folder: Path) -> dict[str, Result]:
    """label -> the values of its cell."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("cells/*/result-*.json"))]
    return {cell["setting"]["label"]: Result(cell["rows"]) for cell in found}
