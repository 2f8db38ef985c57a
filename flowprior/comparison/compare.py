"""``compare``: run every cell of a grid that has no result yet, then write the report."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from flowprior.comparison.cell_run import run_cell
from flowprior.comparison.cells import Cell, Variant, cells, data_identity, variants
from flowprior.comparison.folder import CellFolder, ComparisonFolder, write_json, write_text
from flowprior.comparison.grid import Grid
from flowprior.comparison.grid_file import dump_grid
from flowprior.comparison.judging import Splits
from flowprior.comparison.summary import find_baseline
from flowprior.errors import FlowpriorError, OptionError
from flowprior.samplers import Sampler
from flowprior.training import TrainingInterrupted
from flowprior.training.components import resolve_device

Notify = Callable[[str], None]


@dataclass
class Outcome:
    """How a run of a comparison ended.

    Attributes:
        finished: cells that have a result, whenever they were run.
        failed: title of each cell that failed, and why.
        skipped: label of each variant that the library refuses, and why.
        interrupted: Ctrl-C or SIGTERM stopped it.
    """

    finished: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False


def run_grid(
    grid: Grid,
    out: str | Path,
    *,
    shard: tuple[int, int] = (0, 1),
    progress: bool = False,
    notify: Notify = lambda line: None,
) -> Outcome:
    """Run every cell that has no result yet; what is finished is not run again.

    A cell that fails is noted, and the rest goes on. Ctrl-C and SIGTERM end the run; the next one goes on
    from there.

    Args:
        grid: what to compare.
        out: directory for the cells and the report.
        shard: (i, n) runs every n-th cell from the i-th on, for n processes on one directory.
        progress: show progress bars on stderr.
        notify: is told in one line what happens.

    Raises:
        FlowpriorError: a grid that cannot be run at all, or a directory that cannot be written.
    """
    folder = ComparisonFolder(out)
    check_samplers(grid)
    resolve_device(grid.training.device)
    splits = Splits.load(grid.data)
    planned = plan_cells(grid, splits)
    plan = describe_plan(grid, planned)
    find_baseline(plan["variants"], grid.baseline)
    outcome = Outcome(skipped={row.variant.label: row.refusal for row in planned if row.refusal})
    for label, reason in outcome.skipped.items():
        notify(f"skipped {label}: {reason}")
    write_json(folder.plan, plan)
    write_text(folder.grid, dump_grid(grid))
    # Seed by seed, so that what an interrupted comparison has can be compared.
    order = [cell for seed in zip(*(row.cells for row in planned if row.cells), strict=True) for cell in seed]
    _run_all(order[shard[0] :: shard[1]], folder, grid, splits, outcome, progress, notify)
    return outcome


@dataclass(frozen=True)
class PlannedVariant:
    """A variant and what is to be done about it.

    Attributes:
        variant: prior, coupling and path.
        refusal: why the library refuses it; None where it does not.
        cells: one for each seed; none where it is refused.
    """

    variant: Variant
    refusal: str | None
    cells: list[Cell]


def plan_cells(grid: Grid, splits: Splits) -> list[PlannedVariant]:
    """Every variant of the grid with its cells, or with why there are none."""
    identity = data_identity(splits.train, splits.test)
    found = []
    for variant in variants(grid):
        refusal = variant.refusal(grid.training.batch_size)
        found.append(PlannedVariant(variant, refusal, [] if refusal else cells(grid, variant, identity)))
    return found


def check_samplers(grid: Grid) -> None:
    """Check that each sampler can spend at least one of the numbers of evaluations.

    Raises:
        OptionError: one can spend none.
    """
    first = next(iter(grid.samplers.values()))
    wanted = [(spec, grid.nfe) for spec in grid.samplers.values()]
    wanted += [(first, grid.curve.nfe)] if grid.curve.points else []
    for spec, counts in wanted:
        sampler = Sampler.registry.resolve(spec)
        refusals = [] if sampler.adaptive else [_refusal(sampler, count) for count in counts]
        if refusals and all(refusals):
            raise OptionError(f"compare: {refusals[0]}")


def _refusal(sampler: Sampler, nfe: int) -> str | None:
    try:
        sampler.solve(lambda x, t, cond: torch.zeros_like(x), torch.zeros(1, 1), nfe=nfe)
    except OptionError as error:
        return str(error)
    return None


def describe_plan(grid: Grid, planned: list[PlannedVariant]) -> dict[str, Any]:
    """What plan.json holds: the grid, its variants, and the directory and key of each of their cells."""
    return {
        "format": 1,
        "grid": grid.as_dict(),
        "variants": [
            {
                **asdict(row.variant),
                "skipped": row.refusal,
                "cells": [{"seed": cell.seed, "name": cell.name, "key": cell.key} for cell in row.cells],
            }
            for row in planned
        ],
    }


def _run_all(
    order: list[Cell],
    folder: ComparisonFolder,
    grid: Grid,
    splits: Splits,
    outcome: Outcome,
    progress: bool,
    notify: Notify,
) -> None:
    for number, cell in enumerate(order, 1):
        place = folder.cell(cell)
        if place.result.is_file():
            outcome.finished += 1
            continue
        notify(f"cell {number} of {len(order)}: {cell.title}")
        try:
            run_cell(cell, place, grid, splits, progress)
        except (KeyboardInterrupt, TrainingInterrupted):
            outcome.interrupted = True
            return
        except Exception as error:
            outcome.failed[cell.title] = _note_failure(place, cell, error)
            notify(f"failed {cell.title}: {outcome.failed[cell.title]}")
        else:
            outcome.finished += 1


def _note_failure(place: CellFolder, cell: Cell, error: Exception) -> str:
    """One line; for a bug also the stack trace, beside the cell's files."""
    line = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, FlowpriorError):
        line = f"{type(error).__name__}: {line}; the stack trace is in {place.failure}"
    trace = "".join(traceback.format_exception(error))
    write_json(place.failure, {"seed": cell.seed, "error": line, "trace": trace})
    return line
