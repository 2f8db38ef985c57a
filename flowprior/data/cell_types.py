"""Types of cells as labels: which there are, and which cells are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowprior.errors import InputError, OptionError
from flowprior.registry import check_count

FEW_CELLS = 10
"""Training cells of a type below which its prior is little more than these cells."""


@dataclass(frozen=True)
class CellTypes:
    """The cells that are kept, and their types.

    Attributes:
        kept: indices int64 of the cells of the file that are kept, N of them.
        labels: int64 ``[N]``; None for no condition.
        names: of the labels; None for no condition.
        cautions: what is to be said of them, a sentence each.
    """

    kept: Tensor
    labels: Tensor | None = None
    names: list[str] | None = None
    cautions: tuple[str, ...] = ()

    def few_in(self, training: Tensor) -> str | None:
        """A sentence on types with fewer than ten of the cells ``training`` (indices int64); None without."""
        if self.labels is None or self.names is None:
            return None
        sizes = torch.bincount(self.labels[training], minlength=len(self.names)).tolist()
        few = [f"'{name}' {size}" for name, size in zip(self.names, sizes, strict=True) if size < FEW_CELLS]
        if not few:
            return None
        return (
            f"expected {FEW_CELLS} or more training cells of a type, got {', '.join(few)}: a prior of so few "
            "is little more than these cells; leave such types out by min_cells=, or share what is learnt by "
            "--prior gmm:shrinkage=2"
        )


def cell_types(values: Any, held: Tensor | None, min_cells: int | None, count: int, file: Path) -> CellTypes:
    """Labels of the cells whose types are frequent enough, and that some training cell has.

    Args:
        values: column of ``obs``, a pandas Series of categories that occur; None for no condition.
        held: bool ``[count]``, the cells that are held out; None where each type is divided on its own.
        min_cells: fewest cells of a type; None keeps all.
        count: of cells in the file.
        file: for messages.

    Raises:
        OptionError: ``min_cells`` without types.
        InputError: no type has so many cells.
    """
    if min_cells is not None:
        check_count("cells", "min_cells", min_cells)
    if values is None:
        if min_cells is not None:
            raise OptionError(f"cells: min_cells={min_cells} is of cell types; name their column as label=")
        return CellTypes(torch.arange(count))
    names = [str(name) for name in values.cat.categories]
    codes = torch.from_numpy(values.cat.codes.to_numpy().copy()).long()
    sizes = torch.bincount(codes, minlength=len(names))
    frequent = _frequent(sizes, names, min_cells or 1, file)
    trained = sizes > 0 if held is None else torch.bincount(codes[~held], minlength=len(names)) > 0
    known = frequent & trained
    kept = torch.nonzero(known[codes])[:, 0]
    labels = (known.cumsum(0) - 1)[codes[kept]]
    named = [name for name, is_known in zip(names, known.tolist(), strict=True) if is_known]
    unseen = [f"'{names[code]}' ({int(sizes[code])})" for code in torch.nonzero(frequent & ~trained)[:, 0]]
    caution = f"no training cell is of {', '.join(unseen)}: these cells are left out of the test split, too"
    return CellTypes(kept, labels, named, (caution,) if unseen else ())


def _frequent(sizes: Tensor, names: list[str], least: int, file: Path) -> Tensor:
    """Which types have ``least`` cells or more, bool, of ``sizes`` one a type.

    Raises:
        InputError: none has.
    """
    if int(sizes.max()) < least:
        most = int(sizes.argmax())
        raise InputError(
            f"{file}: expected a type of {least} or more cells, got at most {int(sizes[most])}, of "
            f"'{names[most]}'; lower min_cells"
        )
    return sizes >= least
