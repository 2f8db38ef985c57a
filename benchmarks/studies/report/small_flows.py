"""What the sections on digits and cells share: how the flows were made, their means, who is best."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from benchmarks.studies.report.formatting import Cell, counted, spread, value_at

FID = "fid-cnn128"
NFES = (1, 4, 15)


def made(found: list[Cell]) -> str:
    """Network and budget, how many cells and seeds, how long they took, and on what."""
    first, seeds = found[0], sorted({cell["seed"] for cell in found})
    train, judge = (sum(cell[key] for cell in found) for key in ("train_seconds", "seconds"))
    return (
        f"`{first['model']}`, {first['steps']} steps of {first['batch_size']}, lr {first['lr']}, averaged "
        f"weights, Euler; {counted(len(found), 'cell')}, {counted(len(seeds), 'seed')}, mean ± "
        "standard deviation over them; "
        f"{train:.0f} s of processor time for training (all members side by side) and {judge:.0f} s of wall "
        f"clock for judging, "
        f"{counted(first['threads'], 'thread')} of {first['processor']}, torch {first['torch']}."
    )


def at(cell: Cell, nfe: int, metric: str = FID, rows: str = "rows") -> float:
    """The figure of one cell at ``nfe`` evaluations."""
    return value_at(cell, nfe, metric, rows)


def mean_of(group: list[Cell], figure: Callable[[Cell], float]) -> float:
    """Mean over the seeds."""
    return statistics.mean(figure(cell) for cell in group)


def shown(group: list[Cell], figure: Callable[[Cell], float], digits: int = 1) -> str:
    """``mean ± deviation`` over the seeds; a dash where nothing ran."""
    return spread([figure(cell) for cell in group], digits) if group else "–"


def least(groups: dict[str, list[Cell]], figure: Callable[[Cell], float]) -> str:
    """Name of the group whose mean figure is least; groups without cells do not count."""
    return min((name for name in groups if groups[name]), key=lambda name: mean_of(groups[name], figure))


def unfinished(found: int, planned: int) -> str:
    """A sentence where cells are missing."""
    return "" if found >= planned else f" **{planned - found} of {planned} planned cells have not run.**"
