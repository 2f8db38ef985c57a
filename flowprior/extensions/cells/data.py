"""The data set of single cells: annotated matrices (.h5ad), such as principal components, with cell types.

Cells for training and for testing are drawn inside each type, or are whole donors (or batches).
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowprior.data.base import DATA, Split
from flowprior.data.splits import split_indices
from flowprior.errors import DataNotFoundError, InputError, OptionError
from flowprior.extensions.cells.file import AUTO, CellNumbers, opened, read_column, read_numbers, some_of
from flowprior.registry.options import check_counts, did_you_mean, listed_names
from flowprior.storage.user_paths import existing_file, package_file
from flowprior.streams.data import Annotation, TensorData

PBMC_FILE = "10x_pbmc68k_reduced.h5ad"
"""The file of the scanpy wheel that is read by default."""
ROUNDING = 1e-6
"""The deviation of a coordinate up to which it counts as constant, as a share of its largest number."""
LABELS = ("cell_type", "celltype", "cell_types", "celltypes", "CellType", "bulk_labels", "leiden", "louvain")
"""The columns of ``obs`` that may hold the cell type; the first one in the file is taken."""
BETWEEN = "+"
"""The separator between the names of several donors that are held out."""
FEW_CELLS = 10
"""The number of training cells of a type below which a warning is given."""


@DATA.register("cells")
def cells(
    split: Split = "train",
    path: str | None = None,
    label: str | None = AUTO,
    representation: str = AUTO,
    components: int | None = None,
    standardise: bool = False,
    split_by: str | None = None,
    held_out: str | None = None,
    test_fraction: float = 0.2,
    min_cells: int | None = None,
    seed: int = 0,
) -> TensorData:
    """Cells of an .h5ad file, by default 700 PBMC of 10 types from the scanpy wheel: PCA vectors [50].

    All numbers are divided by one, so that the mean variance of the coordinates over the training split is 1.
    What was done to the numbers is said in ``data.remarks``; ``data.annotation`` turns samples back into the
    units of the file.

    Args:
        split: ``"train"`` or ``"test"``; each cell type is divided by ``test_fraction`` on its own.
        path: the file; None looks for the one that scanpy brings.
        label: column of ``obs`` with the cell type; ``auto`` takes one of the usual names; None is for no
            condition.
        representation: ``X``, ``raw``, a layer, or a key of ``obsm``; ``auto`` is ``X_pca``, or else X.
        components: the first so many numbers, by default all.
        standardise: give each coordinate mean 0 and variance 1, in place of one scale for all.
        split_by: column of ``obs``, such as the donor or batch, whose values are held out whole.
        held_out: values of it to hold out, with + between; by default ``test_fraction`` of them by ``seed``.
        test_fraction: share that is held out, in [0, 1); 0 puts all cells into both splits.
        min_cells: leave out types with fewer cells; by default none, with a warning below 10.
        seed: another seed gives another split.

    Raises:
        DataNotFoundError: no such file, or anndata is not installed; the message says what brings it.
        InputError: the file is corrupt or lacks the representation or a column; NaN; cells without a type.

    Warns:
        RuntimeWarning: raw counts, types of few training cells, and types that only test cells have.
    """
    if split_by is not None and test_fraction == 0:
        raise OptionError(
            f"cells: split_by={split_by} holds cells out and test_fraction=0 holds none out; leave one out"
        )
    if held_out is not None and split_by is None:
        raise OptionError(
            f"cells: held_out={held_out!r} is a value in a column of obs; name the column, add split_by=NAME"
        )
    if min_cells is not None:
        check_counts("cells", min_cells=min_cells)
    missing = DataNotFoundError(
        f"cells: {PBMC_FILE} is not there; run `pip install --no-deps scanpy`, which brings it, "
        "or pass path= an .h5ad file"
    )
    file = (
        package_file("scanpy", f"datasets/{PBMC_FILE}", missing)
        if path is None
        else existing_file(path, "cells", ".h5ad file")
    )
    with opened(file) as annotated:
        numbers = read_numbers(annotated, str(representation), file)
        label = _label_column(annotated, file) if label == AUTO else label
        types = None if label is None else read_column(annotated, str(label), "label", file)
        donors = None if split_by is None else read_column(annotated, str(split_by), "split_by", file)
    held = None
    if donors is not None:
        held = _held_out_cells(donors, str(split_by), held_out, test_fraction, seed, file)
    found = _cells(types, held, min_cells, len(numbers.x), file)
    train, test = _cells_of_both(found, held, test_fraction, seed)
    chosen = train if split == "train" else test
    data = _data(numbers, found, train, chosen, components, standardise, label)
    data.name = "cells" if path is None else str(file)
    if split == "train" and path is not None:
        few = _few_caution(found, train) if min_cells is None else None
        for caution in filter(None, (_counts_caution(numbers, file), found.caution, few)):
            warnings.warn(caution, RuntimeWarning, stacklevel=2)
    return data


class Cells(NamedTuple):
    """Return the cells to keep and their types.

    Attributes:
        kept: indices int64 of the cells of the file that are kept, N of them.
        labels: int64 ``[N]``; None for no condition.
        names: the names of the labels; None for no condition.
        caution: a sentence on types of which no cell is kept, or None.
    """

    kept: Tensor
    labels: Tensor | None = None
    names: list[str] | None = None
    caution: str | None = None


def _label_column(annotated: Any, file: Path) -> str:
    """Return the column with the cell types.

    Raises:
        InputError: none has one of the usual names.
    """
    known = [str(name) for name in annotated.obs]
    found = next((name for name in LABELS if name in known), None)
    if found is None:
        raise InputError(
            f"{file}: expected a column of cell types in obs, found none of {', '.join(LABELS)}; known: "
            f"{some_of(known)}; name one, as in --data cells:path=FILE,label=NAME (label=None "
            "for no condition)"
        )
    return found


def _held_out_cells(
    values: Any, column: str, held_out: object, test_fraction: float, seed: int, file: Path
) -> Tensor:
    """Return the cells of the held-out donors, bool ``[N]``, by a column of ``obs``.

    Args:
        values: the column, a pandas Series of categories that occur.
        column: its name.
        held_out: the donors to hold out, with + between; None draws ``test_fraction`` of them by ``seed``.
        test_fraction: share of the donors, of which at least one is held out and one kept.
        seed: the seed of the draw.
        file: the file, for messages.

    Raises:
        InputError: a single donor, all of them, or one that the column does not have.
    """
    donors = [str(name) for name in values.cat.categories]
    if len(donors) < 2:
        raise InputError(
            f"{file}: expected two or more values in '{column}' to hold some out, got '{donors[0]}' alone; "
            "leave split_by out to hold out cells at random"
        )
    if held_out is None:
        count = min(max(round(test_fraction * len(donors)), 1), len(donors) - 1)
        order = torch.randperm(len(donors), generator=torch.Generator().manual_seed(seed))
        return torch.isin(_codes(values), order[:count])
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
    return torch.isin(_codes(values), torch.tensor([donors.index(name) for name in names]))


def _cells(values: Any, held: Tensor | None, min_cells: int | None, count: int, file: Path) -> Cells:
    """Return the cells whose types are frequent enough and occur in the training split.

    Args:
        values: column of ``obs``, a pandas Series of categories that occur; None for no condition.
        held: bool ``[count]``, the cells that are held out; None where each type is divided on its own.
        min_cells: fewest cells of a type; None keeps all.
        count: the number of cells in the file.
        file: the file, for messages.

    Raises:
        OptionError: ``min_cells`` without types.
        InputError: no type has so many cells.
    """
    if values is None:
        if min_cells is not None:
            raise OptionError(
                f"cells: min_cells={min_cells} needs a column of cell types, got none; name it as label="
            )
        return Cells(torch.arange(count))
    names, codes = [str(name) for name in values.cat.categories], _codes(values)
    sizes = torch.bincount(codes, minlength=len(names))
    frequent = sizes >= (min_cells or 1)
    if not frequent.any():
        most = int(sizes.argmax())
        raise InputError(
            f"{file}: expected a type of {min_cells} or more cells, got at most {int(sizes[most])}, of "
            f"'{names[most]}'; lower min_cells"
        )
    trained = sizes > 0 if held is None else torch.bincount(codes[~held], minlength=len(names)) > 0
    known = frequent & trained
    kept = torch.nonzero(known[codes])[:, 0]
    unseen = [f"'{names[code]}' ({int(sizes[code])})" for code in torch.nonzero(frequent & ~trained)[:, 0]]
    caution = f"no training cell is of {', '.join(unseen)}: these cells are left out of the test split, too"
    return Cells(
        kept,
        (known.cumsum(0) - 1)[codes[kept]],
        [names[code] for code in torch.nonzero(known)[:, 0]],
        caution if unseen else None,
    )


def _codes(values: Any) -> Tensor:
    """Return the number int64 ``[N]`` of each value of a pandas Series among its categories."""
    return torch.tensor(values.cat.codes.to_numpy(), dtype=torch.long)


def _cells_of_both(
    cells: Cells, held: Tensor | None, test_fraction: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Return the indices int64 of the training and of the test cells among the cells that are kept.

    Args:
        cells: the cells that are kept.
        held: bool, which cells of the file are held out, of :func:`_held_out_cells`; None draws them, of each
            type on its own.
        test_fraction: share that is drawn; at 0 all cells are in both.
        seed: the seed of the draw.

    Raises:
        OptionError: a share or seed that is not possible.
        InputError: a part without a cell.
    """
    if held is None:
        terms = {"test_fraction": test_fraction, "seed": seed, "labels": cells.labels}
        count = len(cells.kept)
        return split_indices(count, "train", **terms), split_indices(count, "test", **terms)
    out = held[cells.kept]
    if not out.any():
        raise InputError(
            "cells: no held-out cell is of a type that training cells have; hold out other cells"
        )
    return torch.nonzero(~out)[:, 0], torch.nonzero(out)[:, 0]


def _data(
    numbers: CellNumbers,
    cells: Cells,
    train: Tensor,
    chosen: Tensor,
    components: int | None,
    standardise: bool,
    label: str | None,
) -> TensorData:
    """Return the data set of the cells ``chosen``, standardised by the training cells.

    Raises:
        OptionError: other ``components`` than the numbers have.
    """
    if components is not None:
        check_counts("cells", 1, len(numbers.names), components=components)
    x, names = numbers.x[cells.kept, :components], numbers.names[:components]
    shift, scale = _units(x[train], standardise)
    data = TensorData(
        ((x[chosen] - shift) / scale).float(),
        None if cells.labels is None else cells.labels[chosen],
        classes=None if cells.names is None else len(cells.names),
        class_names=cells.names,
    )
    terms = tuple(scale.reshape(-1).tolist()), tuple(shift.reshape(-1).tolist())
    data.annotation = Annotation(numbers.key, names, *terms, None if label is None else str(label))
    types = f" of {len(cells.names)} types (obs column {label})" if cells.names else ""
    units = "each with mean 0 and variance 1" if standardise else f"divided by {float(scale):.4g}"
    sentence = f"{numbers.key} as it is, {names[0]} … {names[-1]}"
    data.remarks = [f"{len(train):,} training cells{types}: {sentence}, {units}"]
    return data


def _units(x: Tensor, standardise: bool) -> tuple[Tensor, Tensor]:
    """Return the shift and scale of training cells x ``[N, D]``; constant coordinates keep their units.

    What varies by no more than rounding does not vary.
    """
    variance = x.var(dim=0, correction=0)
    if not standardise:
        scale = variance.mean().sqrt()
        return torch.zeros_like(scale), scale if scale > 0 else torch.ones_like(scale)
    varies = variance.sqrt() > ROUNDING * x.abs().amax(0)
    return x.mean(0), torch.where(varies, variance.sqrt(), 1.0)


def _counts_caution(numbers: CellNumbers, file: Path) -> str | None:
    """Return a sentence that warns of raw counts, whole numbers of which some are above 1; else None."""
    x = numbers.x
    if not bool((x >= 0).all() & (x > 1).any() & (x == x.round()).all()):
        return None
    return (
        f"{file}: expected normalised expression in '{numbers.key}', got raw counts, taken as they are; "
        "normalise them first, as scanpy.pp.normalize_total and scanpy.pp.log1p do"
    )


def _few_caution(cells: Cells, training: Tensor) -> str | None:
    """Return a sentence that warns of types with fewer than ten training cells (indices int64); else None."""
    if cells.labels is None or cells.names is None:
        return None
    sizes = torch.bincount(cells.labels[training], minlength=len(cells.names)).tolist()
    few = [f"'{name}' {size}" for name, size in zip(cells.names, sizes, strict=True) if size < FEW_CELLS]
    advice = (
        "a prior of so few is little more than these cells; leave such types out by min_cells=, or share "
        "what is learnt by --prior gmm:shrinkage=2"
    )
    sentence = f"expected {FEW_CELLS} or more training cells of a type, got {', '.join(few)}: {advice}"
    return sentence if few else None
