"""Run the headline study: ``python -m benchmarks.studies.headline [STAGE [DATA …]]``."""

from __future__ import annotations

import argparse

from benchmarks.studies.headline.candidates import try_candidates
from benchmarks.studies.headline.grids import study
from benchmarks.studies.headline.runs import run_all
from benchmarks.studies.headline.settings import choose

STAGES = {"choose": choose, "candidates": try_candidates, "runs": run_all}


def main() -> None:
    """Run one stage, or all, on the data sets that are named, or on all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.headline", description=main.__doc__)
    parser.add_argument("stage", nargs="?", choices=STAGES)
    parser.add_argument("data", nargs="*", choices=study()["data"])
    asked = parser.parse_args()
    for name in [asked.stage] if asked.stage else STAGES:
        for data in asked.data or study()["data"]:
            STAGES[name](data)


if __name__ == "__main__":
    main()
