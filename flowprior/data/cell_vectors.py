"""Vectors of cells: what is made of the numbers of a file, in their units, and how far it can be undone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowprior.data.annotated_file import PCA, CellNumbers, numbered
from flowprior.data.arrays import FLOAT_BYTES, check_unpacked
from flowprior.data.expression import are_counts, log_normalised, principal_components
from flowprior.errors import InputError
from flowprior.registry import check_count

COMPONENTS = 50
"""Principal components that are made of genes by default, as by scanpy."""
MOST_GENES = 1 << 14
"""Genes of an event that has them all."""


@dataclass(frozen=True)
class CellVectors:
    """Vectors of all cells.

    Attributes:
        key: what they are called together, such as ``"X_pca"``.
        x: float64 ``[N, D]``.
        names: of the D numbers.
        done: what was done to the numbers of the file, in words.
        caution: what is to be said of them in a warning; None for nothing.
        pca: scikit-learn's, where principal components were made here.
        genes: of which they were made.
    """

    key: str
    x: Tensor
    names: tuple[str, ...]
    done: tuple[str, ...]
    caution: str | None = None
    pca: Any = None
    genes: tuple[str, ...] = ()

    def expression(self, stored: Tensor) -> Tensor:
        """Expression float32 ``[N, genes]`` of vectors ``[N, D]`` in the units of the file."""
        if self.pca is None:
            return stored
        return torch.from_numpy(np.asarray(self.pca.inverse_transform(stored.double().numpy()))).float()


def cell_vectors(
    numbers: CellNumbers, train: Tensor, components: int | None, normalise: bool, file: Path
) -> CellVectors:
    """Vectors of cells: as they are in ``obsm``, or principal components of genes.

    Args:
        numbers: of all cells.
        train: indices int64 of the training cells, to which principal components are fitted.
        components: of genes by default 50, and 0 for the genes themselves; of ``obsm`` the first so many.
        normalise: whether raw counts are made comparable.
        file: for messages.

    Raises:
        OptionError: a number of components that is not possible.
        InputError: more components than there are, or too many genes for events.
    """
    if components is not None:
        check_count("cells", "components", components, 0 if numbers.of_genes else 1)
    if not numbers.of_genes:
        return _of_obsm(numbers, components, file)
    values, done, caution = _comparable(numbers, normalise, file)
    genes = numbers.names
    if numbers.variable is not None and not numbers.variable.all():
        values = values[:, np.flatnonzero(numbers.variable)]
        genes = tuple(np.asarray(genes, dtype=object)[numbers.variable])
        done = (*done, f"{len(genes):,} highly variable of {len(numbers.names):,} genes")
    made = CellVectors(numbers.key, torch.empty(0), genes, done, caution, None, genes)
    return (
        _genes(made, values, file) if components == 0 else _components(made, values, train, components, file)
    )


def _of_obsm(numbers: CellNumbers, components: int | None, file: Path) -> CellVectors:
    found = numbers.values.shape[1]
    if components is not None and components > found:
        raise InputError(
            f"{file}: expected components={components} numbers in '{numbers.key}', got {found}; choose "
            f"at most {found}"
        )
    names = numbers.names[:components]
    x = torch.from_numpy(_dense(numbers.values)[:, :components]).double()
    return CellVectors(numbers.key, x, names, (f"{numbers.key} as it is, {names[0]} … {names[-1]}",))


def _comparable(numbers: CellNumbers, normalise: bool, file: Path) -> tuple[Any, tuple[str, ...], str | None]:
    """The expression, what was done to it, and what is to be said of it."""
    if not are_counts(numbers.values):
        return numbers.values, (numbers.key,), None
    got = f"{file}: expected normalised expression in '{numbers.key}', got raw counts n"
    if not normalise:
        caution = f"{got}, taken as they are; leave normalise=false out, or name another representation"
        return numbers.values, (f"the raw counts in {numbers.key}",), caution
    formula = "log(1 + 10,000 n / Σ n)"
    caution = f"{got}; {formula} is taken, over each cell's total (normalise=false takes n as it is)"
    return log_normalised(numbers.values), (f"{formula} of the counts in {numbers.key}",), caution


def _genes(made: CellVectors, values: Any, file: Path) -> CellVectors:
    if len(made.genes) > MOST_GENES:
        raise InputError(
            f"{file}: expected at most {MOST_GENES:,} genes as the numbers of a cell, got "
            f"{len(made.genes):,}; leave components=0 out for principal components, or mark genes as "
            "highly_variable in var"
        )
    check_unpacked(file, FLOAT_BYTES * math.prod(values.shape), "leave components=0 out")
    return replace(made, x=torch.from_numpy(_dense(values)).double())


def _components(
    made: CellVectors, values: Any, train: Tensor, components: int | None, file: Path
) -> CellVectors:
    most = min(len(train), len(made.genes)) - 1
    count = min(COMPONENTS, most) if components is None else components
    if not 1 <= count <= most:
        raise InputError(
            f"{file}: expected fewer principal components than training cells and genes, {len(train)} and "
            f"{len(made.genes)}, got {count}; choose components of at most {most}, or 0 for genes"
        )
    pca = principal_components(values[train.numpy()], count)
    x = torch.from_numpy(np.asarray(pca.transform(values), dtype=np.float64))
    share = float(pca.explained_variance_ratio_.sum())
    done = (*made.done, f"{count} principal components of the training cells ({share:.0%} of the variance)")
    return replace(made, key=PCA, x=x, names=numbered("PC", count), done=done, pca=pca)


def _dense(values: Any) -> np.ndarray:
    return np.ascontiguousarray(values if isinstance(values, np.ndarray) else values.toarray())
