"""A folder of its own for a run that was given none."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path

from flowprior.training.config import RunConfig
from flowprior.training.writing import writing

RUNS = Path("runs")
LONGEST = 40


def new_run_folder(config: RunConfig, parent: Path = RUNS) -> Path:
    """Make ``parent/DATA-PRIOR-COUPLING-N`` with the first N from 1 that is free, and return it.

    Two processes that ask at once get two folders, for each of them makes its own or goes on counting.

    Args:
        config: resolved; only the names of its components count.
        parent: made where it is missing.

    Raises:
        CheckpointError: the folder cannot be made.
    """
    name = "-".join(_word(text) for text in (config.data, config.prior, config.coupling))
    with writing(parent / name):
        parent.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            folder = parent / f"{name}-{number}"
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
    raise AssertionError("unreachable")


def _word(spec: str) -> str:
    """The name in a spec string, or the stem of a path, as part of a file's name."""
    name = spec.partition(":")[0]
    stem = Path(name).stem if "/" in name or "\\" in name or "." in name else name
    return re.sub(r"[^\w-]+", "-", stem).strip("-")[:LONGEST] or "data"
