"""The prior that stands for ``auto`` in a study: chosen by the data once, for every process that runs a part.

A choice follows from the data alone, but it compares measured numbers, which two machines round differently.
Where processes divide the cells of a study among them, they must not divide different lists: the first one
that comes looks at the data and writes OUT/choice.json, the others wait and read it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field

from flowprior.errors import CheckpointError
from flowprior.inspection import Choice
from flowprior.registry import package_version
from flowprior.study.cell_file import StudyFolder, write_object
from flowprior.study.grid import Grid
from flowprior.study.records import FORMAT, Formatted, read_record
from flowprior.study.splits import Splits
from flowprior.training.automatic import choose_for
from flowprior.training.config import AUTO_PRIOR

PATIENCE = 3600.0
"""Seconds to wait for another process that looks at the data."""


class _Kept(Formatted):
    """``choice.json``."""

    asked: dict[str, Any]
    choice: Annotated[dict[Literal["prior", "coupling", "data", "reason"], str], Field(min_length=4)]


def asks_for_choice(grid: Grid) -> bool:
    """Whether the data are to choose a prior of ``grid``."""
    named = [parts["prior"] for parts in grid.variants.values()] if grid.variants else grid.priors.values()
    return AUTO_PRIOR in named


def study_choice(grid: Grid, splits: Splits) -> Choice | None:
    """What the data choose for ``grid``; None where it names all of its priors.

    Raises:
        InputError: data that no rule has a prior for.
    """
    return choose_for(splits.train, grid.latent, grid.training.device) if asks_for_choice(grid) else None


def recorded_choice(grid: Grid, splits: Splits, folder: StudyFolder) -> Choice | None:
    """The same, made once for ``folder`` and kept there, for as long as the data are the same ones.

    Raises:
        InputError: as :func:`study_choice`.
        OptionError: another process holds the folder for an hour.
        CheckpointError: the folder cannot be written.
    """
    if not asks_for_choice(grid):
        return None
    with folder.lock(PATIENCE):
        if (kept := kept_choice(grid, splits, folder)) is not None:
            return kept
        choice = study_choice(grid, splits)
        assert choice is not None
        record = {"format": FORMAT, "asked": _asked(grid, splits), "choice": asdict(choice)}
        write_object(folder.choice, record)
    return choice


def kept_choice(grid: Grid, splits: Splits, folder: StudyFolder) -> Choice | None:
    """What ``folder`` keeps of these data; None where it keeps nothing of them."""
    kept = _read(folder)
    if kept.get("asked") != _asked(grid, splits):
        return None
    return Choice(**kept["choice"])


def _asked(grid: Grid, splits: Splits) -> dict[str, Any]:
    return {"flowprior": package_version(), "latent": grid.latent, "data": splits.identity()["train"]}


def _read(folder: StudyFolder) -> dict[str, Any]:
    """What is kept; nothing where it is missing, damaged or of another format: then the data choose anew."""
    try:
        return read_record(folder.choice, _Kept)
    except CheckpointError:
        return {}
