"""Run the headline study: ``python -m benchmarks.studies.headline [STAGE [DATA …]]``."""

from __future__ import annotations

import sys

from benchmarks.studies.headline.candidates import try_candidates
from benchmarks.studies.headline.grids import study
from benchmarks.studies.headline.settings import choose

STAGES = {"choose": choose, "candidates": try_candidates}


def main(stage: str = "", *data: str) -> None:
    """Run one stage, or all, on the data sets that are named, or on all."""
    for name in [stage] if stage else STAGES:
        for each in data or study()["data"]:
            STAGES[name](each)


if __name__ == "__main__":
    main(*sys.argv[1:])
