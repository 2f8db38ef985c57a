"""Run every cell of a grid that has no result yet."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from flowprior.errors import FlowpriorError
from flowprior.study.cell_run import run_cell
from flowprior.study.cells import Cell
from flowprior.study.folder import CellFolder, ComparisonFolder, write_json, write_text
from flowprior.study.grid import Grid
from flowprior.study.grid_file import dump_grid
from flowprior.study.judging import Splits, check_measures
from flowprior.study.plan import PlannedVariant, describe_plan, plan_grid
from flowprior.study.summary import find_baseline
from flowprior.training import TrainingInterrupted
from flowprior.training.components import resolve_device

Notify = Callable[[str], None]


@dataclass
class Outcome:
    """How a run of a comparison ended.

    Attributes:
        finished: cells that have a result, whenever they were run.
        failed: title of each cell that failed, and why.
        skipped: what the library refuses of the grid, and why.
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
    resolve_device(grid.training.device)
    check_measures(grid.evaluation)
    splits = Splits.load(grid.data)
    planned = plan_grid(grid, splits)
    plan = describe_plan(grid, planned)
    find_baseline(plan["variants"], grid.baseline)
    write_json(folder.plan, plan)
    write_text(folder.grid, dump_grid(grid))
    outcome = Outcome(skipped=skipped_of(planned))
    for name, reason in outcome.skipped.items():
        notify(f"skipped {name}: {reason}")
    # Seed by seed, so that what an interrupted comparison has can be compared.
    cells = [cell for seed in zip(*(row.cells for row in planned if row.cells), strict=True) for cell in seed]
    order = list({(cell.name, cell.key): cell for cell in cells}.values())  # "auto" may name another's twin
    _run_all(order[shard[0] :: shard[1]], folder, grid, splits, outcome, progress, notify)
    return outcome


def skipped_of(planned: list[PlannedVariant]) -> dict[str, str]:
    """Variants, and samplers of a variant, that the library refuses, and why."""
    found: dict[str, str] = {}
    for row in planned:
        if row.refusal is not None:
            found[row.variant.label] = row.refusal
            continue
        for sampler, reason in row.refused_samplers.items():
            found[f"{row.variant.label} by {sampler}"] = reason
    return found


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
