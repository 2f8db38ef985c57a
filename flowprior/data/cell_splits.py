"""Cells for training and for testing: at random inside each type, or whole donors (or batches)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowprior.data.cell_types import CellTypes
from flowprior.data.splits import check_seed, check_test_fraction, split_indices
from flowprior.errors import InputError, OptionError
from flowprior.registry import did_you_mean, listed_names

BETWEEN = "+"
"""Between the names of several donors that are held out."""


def held_out_cells(
    values: Any, column: str, held_out: object, *, test_fraction: float, seed: int, file: Path
) -> Tensor:
    """Which cells are held out, bool ``[N]``, by a column of ``obs``: whole donors.

    Args:
        values: the column, a pandas Series of categories that occur.
        column: its name.
        held_out: the donors to hold out, with + between; None draws ``test_fraction`` of them by ``seed``.
        test_fraction: share of the donors, of which at least one is held out and one kept.
        seed: of the draw.
        file: for messages.

    Raises:
        InputError: a single donor, all of them, or one that the column does not have.
    """
    check_seed("cells", seed)
    check_test_fraction(test_fraction)
    donors = [str(name) for name in values.cat.categories]
    if len(donors) < 2:
        raise InputError(
            f"{file}: expected two or more values in '{column}' to hold some out, got '{donors[0]}' alone; "
            "leave split_by out to hold out cells at random"
        )
    names = (
        _drawn(donors, test_fraction, seed) if held_out is None else _named(donors, held_out, column, file)
    )
    codes = torch.from_numpy(values.cat.codes.to_numpy().copy()).long()
    return torch.isin(codes, torch.tensor([donors.index(name) for name in names]))


def _named(donors: list[str], held_out: object, column: str, file: Path) -> list[str]:
    names = listed_names(str(held_out), donors, BETWEEN)
    unknown = [name for name in names if name not in donors]
    if unknown:
        raise InputError(
            f"{file}: no '{unknown[0]}' in '{column}'{did_you_mean(unknown[0], donors)} known: "
            f"{', '.join(donors)}; name one as held_out=NAME, several with + between, "
            "and what looks like a number in quotes, held_out='1e3'"
        )
    if len(set(names)) == len(donors):
        raise InputError(
            f"{file}: held_out={held_out} leaves no cell to train on; hold fewer of '{column}' out"
        )
    return names


def _drawn(donors: list[str], test_fraction: float, seed: int) -> list[str]:
    count = min(max(round(test_fraction * len(donors)), 1), len(donors) - 1)
    order = torch.randperm(len(donors), generator=torch.Generator().manual_seed(seed))
    return [donors[place] for place in order[:count].tolist()]


def cells_of_both(
    types: CellTypes, held: Tensor | None, *, test_fraction: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Indices int64, among the cells that are kept, of the training and the test cells.

    Args:
        types: of the cells.
        held: bool, which cells of the file are held out, of :func:`held_out_cells`; None draws them, of each
            type on its own.
        test_fraction: share that is drawn; at 0 all cells are in both.
        seed: of the draw.

    Raises:
        OptionError: a share or seed that is not possible.
        InputError: a part without a cell.
    """
    count, labels = len(types.kept), types.labels
    if held is None:
        terms = {"test_fraction": test_fraction, "seed": seed, "labels": labels}
        return split_indices(count, "train", **terms), split_indices(count, "test", **terms)
    out = held[types.kept]
    if not out.any():
        raise InputError(
            "cells: no cell that is held out is of a type that training cells have; hold others out"
        )
    return torch.nonzero(~out)[:, 0], torch.nonzero(out)[:, 0]


def check_held_out(split_by: object, held_out: object, test_fraction: float) -> None:
    """Refuse a donor to hold out where no column says who it is, and a column where none is to be held out.

    Raises:
        OptionError: that is so.
    """
    if split_by is not None and test_fraction == 0:
        raise OptionError(
            f"cells: split_by={split_by} holds cells out and test_fraction=0 holds none out; leave one out"
        )
    if held_out is not None and split_by is None:
        raise OptionError(
            f"cells: held_out={held_out!r} needs the column of obs that it stands in; add split_by=NAME"
        )
