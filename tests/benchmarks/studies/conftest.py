"""Results that a study has left in a folder, and an encoder for its captions."""

from __future__ import annotations

import json
from pathlib import Path

from flowprior.evaluation.result import Result
from tests.words import words

__all__ = ["cells_of", "words"]


def cells_of(folder: Path) -> dict[str, Result]:
    """label -> the values of its run."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("cells/*/result-*.json"))]
    return {cell["setting"]["label"]: Result(cell["rows"]) for cell in found}
