"""What a run of a grid would do; nothing is written."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowprior.errors import CheckpointError
from flowprior.study.cell_file import CellFolder, StudyFolder
from flowprior.study.cells import skipped_of
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
    """

    variant: str
    seed: int
    state: str


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
    planned = [
        PlannedCell(cell.variant.label, cell.seed, _state(folder, folder.cell(cell.name, cell.key)))
        for cell in cells
    ]
    return Preview(planned, skipped_of(plan["variants"]), plan["grid"])


def _state(folder: StudyFolder, place: CellFolder) -> str:
    """The state of a cell; a damaged file counts as none and is measured again."""
    with suppress(CheckpointError):
        if folder.read_result(place) is not None:
            return FINISHED
    if place.failure.is_file():
        return FAILED
    return BEGUN if place.path.is_dir() else WAITING
