"""What is to be run of a grid, and what the library refuses of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from flowprior.errors import OptionError
from flowprior.study.cells import Cell, data_identity, make_cell
from flowprior.study.folder import FORMAT
from flowprior.study.grid import Grid
from flowprior.study.judging import Splits
from flowprior.study.variants import Variant, variants


@dataclass(frozen=True)
class PlannedVariant:
    """A variant and what is to be done about it.

    Attributes:
        variant: prior, coupling and path.
        refusal: why the library refuses it, or every sampler does; None where there is something to run.
        refused_samplers: label of each sampler that cannot serve it, and why.
        cells: one for each seed; none where the variant is refused.
    """

    variant: Variant
    refusal: str | None
    refused_samplers: dict[str, str] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)


def plan_grid(grid: Grid, splits: Splits) -> list[PlannedVariant]:
    """Every variant of the grid with its cells, or with why there are none.

    Raises:
        OptionError: nothing of the grid can be run, or its curve cannot be drawn.
    """
    identity = data_identity(splits.train, splits.test)
    planned = [_plan_variant(grid, variant, identity) for variant in variants(grid)]
    if not any(row.cells for row in planned):
        raise OptionError(f"compare: no combination of the grid is possible: {planned[0].refusal}")
    return planned


def describe_plan(grid: Grid, planned: list[PlannedVariant]) -> dict[str, Any]:
    """What plan.json holds: the grid, its variants, and the directory and key of each of their cells."""
    return {
        "format": FORMAT,
        "grid": grid.as_dict(),
        "variants": [
            {
                **asdict(row.variant),
                "skipped": row.refusal,
                "refused_samplers": {} if row.refusal else row.refused_samplers,
                "cells": [{"seed": cell.seed, "name": cell.name, "key": cell.key} for cell in row.cells],
            }
            for row in planned
        ],
    }


def _plan_variant(grid: Grid, variant: Variant, identity: dict[str, Any]) -> PlannedVariant:
    refusal = variant.refusal(grid.training.batch_size)
    if refusal is not None:
        return PlannedVariant(variant, refusal)
    refused = {
        label: reason
        for label, spec in grid.samplers.items()
        if (reason := variant.sampler_refusal(spec, grid.nfe)) is not None
    }
    allowed = [spec for label, spec in grid.samplers.items() if label not in refused]
    if not allowed:
        return PlannedVariant(variant, next(iter(refused.values())), refused)
    first = next(iter(grid.samplers.values()))
    if grid.curve.points and first in allowed:
        reason = variant.sampler_refusal(first, grid.curve.nfe)
        if reason is not None:
            raise OptionError(f"compare: curve.nfe={list(grid.curve.nfe)} is not possible: {reason}")
    row = [make_cell(grid, variant, seed, allowed, identity) for seed in grid.seeds]
    return PlannedVariant(variant, None, refused, row)
