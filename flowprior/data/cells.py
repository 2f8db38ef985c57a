"""Single cells: annotated matrices (.h5ad), such as principal components of expression, with their types."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowprior.data.annotated_file import AUTO, CellNumbers, opened, read_column, read_numbers, some_of
from flowprior.data.base import DATA, Annotation, Split, TensorData
from flowprior.data.cell_splits import cells_of_both, check_held_out, held_out_cells
from flowprior.data.cell_types import CellTypes, cell_types
from flowprior.data.splits import check_split
from flowprior.errors import DataNotFoundError, InputError
from flowprior.registry import check_count
from flowprior.storage.user_paths import existing_file

PBMC_FILE = "10x_pbmc68k_reduced.h5ad"
ROUNDING = 1e-6
"""Deviation, as a share of the largest number of a coordinate, up to which it is float32's rounding."""
LABELS = ("cell_type", "celltype", "cell_types", "celltypes", "CellType", "bulk_labels", "leiden", "louvain")
"""Columns of ``obs`` that are taken for the cell type where none is named: the first that is there."""


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
    check_split(split)
    check_held_out(split_by, held_out, test_fraction)
    file = _find(path)
    with opened(file) as annotated:
        numbers = read_numbers(annotated, str(representation), file)
        label = _label_column(annotated, file) if label == AUTO else label
        types = None if label is None else read_column(annotated, str(label), "label", file)
        donors = None if split_by is None else read_column(annotated, str(split_by), "split_by", file)
    share = {"test_fraction": test_fraction, "seed": seed}
    held = None if donors is None else held_out_cells(donors, str(split_by), held_out, file=file, **share)
    found = cell_types(types, held, min_cells, len(numbers.x), file)
    train, test = cells_of_both(found, held, **share)
    data = _data(
        _first(numbers, components, file),
        found,
        train,
        train if split == "train" else test,
        standardise,
        label,
    )
    data.name = "cells" if path is None else str(file)
    if split == "train" and path is not None:
        few = found.few_in(train) if min_cells is None else None
        for caution in filter(None, (_counts_caution(numbers, file), *found.cautions, few)):
            warnings.warn(caution, RuntimeWarning, stacklevel=2)
    return data


def _first(numbers: CellNumbers, components: int | None, file: Path) -> CellNumbers:
    """The first so many numbers of each cell.

    Raises:
        OptionError: not a positive number of them.
        InputError: more than there are.
    """
    if components is None:
        return numbers
    check_count("cells", "components", components)
    if components > len(numbers.names):
        raise InputError(
            f"{file}: expected components={components} numbers in '{numbers.key}', got {len(numbers.names)}; "
            f"choose at most {len(numbers.names)}"
        )
    return CellNumbers(numbers.key, numbers.x[:, :components], numbers.names[:components])


def _counts_caution(numbers: CellNumbers, file: Path) -> str | None:
    """A sentence on raw counts, whole numbers of which some are above 1; None for other numbers."""
    x = numbers.x
    if not bool((x >= 0).all() & (x > 1).any() & (x == x.round()).all()):
        return None
    return (
        f"{file}: expected normalised expression in '{numbers.key}', got raw counts, taken as they are; "
        "normalise them first, as scanpy.pp.normalize_total and scanpy.pp.log1p do"
    )


def _data(
    numbers: CellNumbers,
    found: CellTypes,
    train: Tensor,
    chosen: Tensor,
    standardise: bool,
    label: str | None,
) -> TensorData:
    """The data set of the cells ``chosen``, in units of the training cells."""
    x, names = numbers.x[found.kept], numbers.names
    shift, scale = _units(x[train], standardise)
    data = TensorData(
        ((x[chosen] - shift) / scale).float(),
        None if found.labels is None else found.labels[chosen],
        classes=None if found.names is None else len(found.names),
        class_names=found.names,
    )
    terms = tuple(scale.reshape(-1).tolist()), tuple(shift.reshape(-1).tolist())
    data.annotation = Annotation(numbers.key, names, *terms, None if label is None else str(label))
    types = f" of {len(found.names)} types (obs column {label})" if found.names else ""
    units = "each with mean 0 and variance 1" if standardise else f"divided by {float(scale):.4g}"
    told = f"{numbers.key} as it is, {names[0]} … {names[-1]}"
    data.remarks = [f"{len(train):,} training cells{types}: {told}, {units}"]
    return data


def _units(x: Tensor, standardise: bool) -> tuple[Tensor, Tensor]:
    """Shift and scale of training cells x ``[N, D]``, one or ``[D]``; what does not vary keeps its units.

    What varies by no more than rounding does not vary.
    """
    variance = x.var(dim=0, correction=0)
    if not standardise:
        scale = variance.mean().sqrt()
        return torch.zeros_like(scale), scale if scale > 0 else torch.ones_like(scale)
    varies = variance.sqrt() > ROUNDING * x.abs().amax(0)
    return x.mean(0), torch.where(varies, variance.sqrt(), 1.0)


def _label_column(annotated: Any, file: Path) -> str:
    """The column with the cell types by its name.

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


def _find(path: str | None) -> Path:
    if path is not None:
        return existing_file(path, "cells", ".h5ad file")
    scanpy = importlib.util.find_spec("scanpy")
    folders = [] if scanpy is None else list(scanpy.submodule_search_locations or [])
    files = [Path(folder) / "datasets" / PBMC_FILE for folder in folders]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise DataNotFoundError(
            f"cells: {PBMC_FILE} is not there; run `pip install --no-deps scanpy`, which brings it, "
            "or pass path= an .h5ad file"
        )
    return found
