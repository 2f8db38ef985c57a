"""Put the values of finished studies into the table of a study, from which the page of results is made.

    python -m benchmarks.studies.store kinds runs/kinds

A run takes the place of an earlier one of the same setting, data, steps and seed. Runs from changed files, or
from a commit that is not known, are refused.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks.studies import RESULTS
from flowprior.errors import InputError
from flowprior.study import StudyFolder
from flowprior.study.table import read_rows, write_results

SAME = ("label", "data", "latent", "model", "init", "steps", "seed")
"""The columns by which a run is known again."""


def store(name: str, folders: Iterable[Path], results: Path = RESULTS) -> Path:
    """Add the runs of these folders to the table of the study ``name``, and return its file.

    Raises:
        InputError: a run that was not made from a clean commit.
    """
    path = results / f"{name}.csv.gz"
    new = [row for folder in folders for row in read_rows(StudyFolder(folder).results)]
    if unclean := sorted({row["label"] for row in new if row["legacy"] != "False"}):
        raise InputError(
            f"store: expected runs of a clean commit, got {', '.join(unclean)} from changed files or an "
            "unknown commit; commit the changes and run them again"
        )
    made_anew = {_known_by(row) for row in new}
    kept = [row for row in read_rows(path) if _known_by(row) not in made_anew] if path.is_file() else []
    write_results(path, [*kept, *new])
    return path


def _known_by(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row.get(column, "") for column in SAME)


if __name__ == "__main__":
    store(sys.argv[1], map(Path, sys.argv[2:]))
