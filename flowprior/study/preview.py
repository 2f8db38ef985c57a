"""What a run of a grid would do, and about how long it would train; nothing is written."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowprior.errors import CheckpointError
from flowprior.study.cell_file import CellFolder, StudyFolder
from flowprior.study.cells import Cell, skipped_of
from flowprior.study.grid import Grid
from flowprior.study.running import checked_plan

FINISHED, BEGUN, FAILED, WAITING = STATES = ("finished", "begun", "failed", "waiting")
"""Of a cell: it has a result; it goes on where it stopped; it failed and is tried again; all is to do."""


@dataclass(frozen=True)
class PlannedCell:
    """One cell as it stands.

    Attributes:
        variant: its label.
        seed: of training and evaluation.
        state: one of :data:`STATES`.
        seconds: that its training took or, as far as finished cells tell, will take; None where none tells.
    """

    variant: str
    seed: int
    state: str
    seconds: float | None


@dataclass(frozen=True)
class Preview:
    """What a run of a grid would do.

    Attributes:
        cells: in the order of the run.
        skipped: what the library refuses of the grid: variant, sampler (None for all of them), reason.
        grid: all of its keys.
    """

    cells: list[PlannedCell]
    skipped: list[dict[str, Any]]
    grid: dict[str, Any]

    @property
    def to_run(self) -> list[PlannedCell]:
        """The cells that have no result yet."""
        return [cell for cell in self.cells if cell.state != FINISHED]

    @property
    def seconds(self) -> float | None:
        """Of training, for all cells that are to be run, without evaluations. None where nothing tells."""
        found = [cell.seconds for cell in self.to_run]
        return None if None in found else sum(filter(None, found))


def preview_grid(grid: Grid, out: str | Path) -> Preview:
    """What :func:`run_grid` would do with the same arguments.

    Args:
        grid: what to compare.
        out: directory for the cells and the report; absent, or of an earlier run.

    Raises:
        FlowpriorError: a grid that cannot be run at all.
    """
    folder = StudyFolder(out)
    _, plan, cells = checked_plan(grid)
    places = {cell.title: folder.cell(cell.name, cell.key) for cell in cells}
    results = {title: _result(folder, place) for title, place in places.items()}
    spent = {cell.title: _seconds_spent(results[cell.title], cell) for cell in cells}
    states = {title: FINISHED if results[title] else _state(place) for title, place in places.items()}
    planned = [
        PlannedCell(cell.variant.label, cell.seed, states[cell.title], _seconds(cell, cells, spent))
        for cell in cells
    ]
    return Preview(planned, skipped_of(plan["variants"]), plan["grid"])


def _result(folder: StudyFolder, place: CellFolder) -> dict[str, Any] | None:
    """Return what a run keeps of a cell; a damaged file counts as none and is measured again."""
    try:
        return folder.read_result(place)
    except CheckpointError:
        return None


def _state(place: CellFolder) -> str:
    """The state of a cell without a result."""
    if place.failure.is_file():
        return FAILED
    return BEGUN if place.path.is_dir() else WAITING


def _seconds_spent(result: dict[str, Any] | None, cell: Cell) -> float | None:
    """What the prior's fit and the steps of a finished cell took."""
    if result is None:
        return None
    run = result["run"]
    if run.get("seconds_per_step") is None:
        return run.get("seconds")
    return run["seconds_per_step"] * cell.config.training.steps + (run.get("prior_fit_seconds") or 0.0)


def _seconds(cell: Cell, cells: Iterable[Cell], spent: dict[str, float | None]) -> float | None:
    """The cell's own, else the median of its variant's other seeds, else of all cells."""
    own = [spent[cell.title]]
    alike = [spent[other.title] for other in cells if other.variant.label == cell.variant.label]
    for known in (own, alike, spent.values()):
        found = [seconds for seconds in known if seconds is not None]
        if found:
            return statistics.median(found)
    return None
