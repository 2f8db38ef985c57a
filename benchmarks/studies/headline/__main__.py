"""Run the headline study: ``python -m benchmarks.studies.headline [STAGE [DATA …]]``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from benchmarks.studies.headline.candidates import try_candidates
from benchmarks.studies.headline.grids import study
from benchmarks.studies.headline.runs import run_all
from benchmarks.studies.headline.settings import choose

STAGES = {"choose": choose, "candidates": try_candidates, "runs": run_all}
Stage = StrEnum("Stage", list(STAGES))
Data = StrEnum("Data", {name: name for name in study()["data"]})


def main(
    stage: Annotated[Stage | None, typer.Argument(help="one stage; all if it is left out")] = None,
    data: Annotated[list[Data] | None, typer.Argument(help="data sets; all if they are left out")] = None,
) -> None:
    """Run one stage, or all, on the data sets that are named, or on all."""
    for name in [stage] if stage else STAGES:
        for each in data or study()["data"]:
            STAGES[name](str(each))


if __name__ == "__main__":
    typer.run(main)
