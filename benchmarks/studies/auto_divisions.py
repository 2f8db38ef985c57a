"""What `--prior auto` chooses, with seeds that have a division into training and test rows of their own each.

    python -m benchmarks.studies.auto_divisions crabs 3

Two seeds on one division tell how much a training varies, and nothing of the test rows: with fifteen of them
a label, these decide more. So here each seed trains, chooses and is tested on a division of its own, and
standard errors over seeds hold both. The designs and the budget are those of ``auto.toml``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.studies.auto import TIMES
from flowprior.data import load_data
from flowprior.study import Grid, load_grid, run_grid

GRID = Path(__file__).with_name("auto.toml")


def grid_of(table: str, division: int) -> Grid:
    """The study of ``auto.toml`` on one division of a table, twenty samples for each test row."""
    data = f"table:of={table},seed={division}"
    samples = 2 * TIMES * len(load_data(data, "test"))
    return load_grid(GRID, {"data": data, "seeds": [division], "samples": samples})


def main(
    table: str,
    divisions: Annotated[int, typer.Argument(min=1)] = 3,
    first: Annotated[int, typer.Option(min=0)] = 0,
    out: Path = Path("runs"),
) -> None:
    """Train all designs on so many divisions from ``first`` on, into ``out/auto-TABLE-DIVISION``.

    After Ctrl-C, SIGTERM or a division with a cell that failed no further one is begun, and the exit status
    is 1; the same command goes on from there.
    """
    torch.set_num_threads(1)
    for division in range(first, first + divisions):
        outcome = run_grid(grid_of(table, division), out / f"auto-{table}-{division}")
        if outcome.interrupted or outcome.failed:
            typer.echo(f"division {division} of {table}: {outcome!r}", err=True)
            raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
