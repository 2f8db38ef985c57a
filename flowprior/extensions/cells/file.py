"""The files of annotated matrices (.h5ad): anndata reads a matrix by its name, and writes samples."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.conditions.rows import named_tensors
from flowprior.errors import FlowpriorError, InputError, import_extra
from flowprior.registry.options import did_you_mean
from flowprior.storage.writing import replacing
from flowprior.streams.array_files import FLOAT_BYTES, check_unpacked
from flowprior.streams.data import Annotation
from flowprior.streams.user_tensors import check_finite, plain_tensor

AUTO = "auto"
"""The key that finds the matrix to read."""
EXPRESSION = ("X", "raw")
"""The names of matrices of genes that are neither a layer nor in ``obsm``."""
PCA = "X_pca"
"""The name that scanpy gives to principal components."""
UNPACKED_ADVICE = "leave out what is empty, or write it without compression"
MOST_NAMED = 20
"""The number of columns that a message names."""
MOST_NUMBERS = 1 << 14
"""The largest number of coordinates of a cell."""
CONDITION = "cond"
"""The name of the column of labels for data that have no name for them."""


@dataclass(frozen=True)
class CellNumbers:
    """The numbers that a file has of its cells under one name.

    Attributes:
        key: ``X``, ``raw``, a layer or a key of ``obsm``.
        x: float64 ``[N, D]``.
        names: the names of the D coordinates.
    """

    key: str
    x: Tensor
    names: tuple[str, ...]


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """Open the annotated matrix of a file; X stays on the disk until it is read.

    Raises:
        DataNotFoundError: anndata is not installed.
        InputError: the file is damaged, no .h5ad, has parts in other files, or would take too much memory.
    """
    anndata = import_extra("anndata", "cells", "cells: reading .h5ad files")
    try:
        with warnings.catch_warnings(action="ignore"):  # of an old layout, and of names that repeat
            _check_contents(file)
            annotated = anndata.read_h5ad(file, backed="r")
            with closing(annotated.file):
                yield annotated
    except FlowpriorError:
        raise
    except Exception as error:  # anndata and h5py raise a dozen kinds for a damaged file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{file}: cannot be read as .h5ad ({reason}); write or download it again") from error


def read_numbers(annotated: Any, key: str, file: Path) -> CellNumbers:
    """Read the numbers of all cells under ``key``; ``auto`` takes ``X_pca``, else X.

    Raises:
        InputError: nothing of that name, or no matrix of numbers.
    """
    if key == AUTO:
        key = PCA if PCA in annotated.obsm else "X"
    if key in annotated.obsm:
        held = annotated.obsm[key]
        x = _matrix(held, key, file)
        stem = "PC" if key == PCA else key.removeprefix("X_")
        names = map(str, held.columns) if hasattr(held, "columns") else _numbered(stem, x.shape[1])
        return CellNumbers(key, x, tuple(names))
    source: Any = annotated.raw if key == "raw" and "raw" not in annotated.layers else annotated
    matrix = annotated.layers.get(key, None if source is None else source.X)
    known = key in annotated.layers or key in EXPRESSION
    if not known or source is None or matrix is None:
        expression = [name for name in EXPRESSION if getattr(annotated, name) is not None]
        names = [*expression, *filter(None, annotated.layers), *annotated.obsm]
        raise InputError(
            f"{file}: no representation '{key}'{did_you_mean(key, names)} known: {some_of(names)} (X, raw, "
            "layers, obsm); name one, as in --data cells:path=FILE,representation=NAME"
        )
    return CellNumbers(key, _matrix(matrix, key, file), tuple(map(str, source.var.index)))


def read_column(annotated: Any, column: str, option: str, file: Path) -> Any:
    """Return a column of ``obs`` as a pandas Series of the categories that occur.

    Args:
        annotated: the annotated matrix of :func:`opened`.
        column: its name.
        option: the option that names the column, for messages.
        file: the file, for messages.

    Raises:
        InputError: no such column, cells without a value, or measured numbers in place of names.
    """
    known = [str(name) for name in annotated.obs]
    if column not in known:
        raise InputError(
            f"{file}: no column '{column}' in obs{did_you_mean(column, known)} known: {some_of(known)}; name "
            f"one, as in --data cells:path=FILE,{option}=NAME ({option}=None for none)"
        )
    values = annotated.obs[column]
    if values.isna().any():
        raise InputError(f"{file}: {int(values.isna().sum())} cells have no '{column}'; drop or label them")
    if values.dtype.kind == "f":
        raise InputError(
            f"{file}: expected names in the column '{column}' of obs, got measured numbers ({values.dtype}); "
            f"name another column as {option}=, or write them as texts"
        )
    return values.astype("category").cat.remove_unused_categories()


class CellsWriter:
    """The writer of samples as ``.h5ad`` (:class:`flowprior.cli.samples_file.Writer`)."""

    def check(self, path: Path, event_shape: Sequence[int]) -> None:
        """Refuse samples that a file of cells cannot hold, before they are drawn.

        Raises:
            DataNotFoundError: anndata is not installed.
            InputError: events that are no vectors.
        """
        import_extra("anndata", "cells", "cells: writing .h5ad files")
        if len(event_shape) != 1:
            raise InputError(
                f"samples: expected vectors for '{path}', got events {list(event_shape)}; write an .npz or "
                ".pt file instead"
            )

    def write(
        self,
        path: Path,
        x: Tensor,
        cond: Conditions | None,
        *,
        facts: Any,
        names: Sequence[str],
        notes: Mapping[str, str] | None,
    ) -> None:
        """Write samples ``[N, D]`` as X, the names of the numbers in ``var``, labels by name in ``obs``.

        They are in the units of the file that the data came from, and once more in ``obsm`` under its key,
        where it has them there, so that they can be put beside the data. Embeddings go to ``obsm``.

        Args:
            path: the file.
            x: samples, as a flow makes them.
            cond: their condition, or None.
            facts: the description of the training data in the flow's metadata, which may name columns.
            names: the names of the labels; without names, their numbers.
            notes: keyword -> text, kept in ``uns["flowprior"]``.

        Raises:
            CheckpointError: the file cannot be written.
        """
        import anndata
        import pandas

        count = x.shape[1]
        annotation = Annotation.of_facts(facts, count) or Annotation("X", _numbered("x", count))
        stored = annotation.stored(x).numpy()
        columns: dict[str, Any] = {}
        obsm: dict[str, Any] = {annotation.key: stored} if annotation.key.startswith("X_") else {}
        for name, tensor in named_tensors(cond).items():
            values = tensor.detach().cpu().numpy()
            column = annotation.label or name if name == CONDITION else name
            if values.ndim > 1 or tensor.is_floating_point():
                obsm[name] = values.reshape(len(values), -1)
            elif name == CONDITION and names:
                columns[column] = pandas.Categorical([names[label] for label in values])
            else:
                columns[column] = values
        obs = pandas.DataFrame(columns, index=pandas.Index(_numbered("sample", len(x))))
        var = pandas.DataFrame(index=pandas.Index(annotation.names))
        uns = {"flowprior": dict(notes or {})}
        annotated = anndata.AnnData(stored, obs=obs, var=var, obsm=obsm, uns=uns)
        with replacing(path, keep_suffix=True) as temporary:
            annotated.write_h5ad(temporary)


def some_of(names: list[str]) -> str:
    """Return the first of many names, separated by commas."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return (", ".join(names[:MOST_NAMED]) or "none") + more


def _check_contents(file: Path) -> None:
    """Check the sizes of all matrices of a file without reading one.

    Raises:
        InputError: one lies in another file, or all of them would take too much memory.
    """
    import h5py

    sizes = []

    def look(name: str, link: Any) -> str | None:
        """Add up the size of a matrix; return the name of one in another file, which ends the walk."""
        part = hdf5.get(name) if isinstance(link, h5py.HardLink) else None
        is_matrix = isinstance(part, h5py.Dataset)
        if isinstance(link, h5py.ExternalLink) or (is_matrix and (part.external or part.is_virtual)):
            return name
        if is_matrix:  # a chunk is unpacked as a whole, however little of it is in the matrix
            numbers = max(part.size or 0, math.prod(part.chunks or ()))
            sizes.append(numbers * max(FLOAT_BYTES, part.dtype.itemsize))
        return None

    with h5py.File(file, "r") as hdf5:
        elsewhere = hdf5.visititems_links(look)
    if elsewhere is not None:
        raise InputError(
            f"{file}: expected all matrices in the file itself, got '{elsewhere}' in another one, which "
            "is never read; write it anew with anndata"
        )
    check_unpacked(file, sum(sizes), UNPACKED_ADVICE)


def _numbered(stem: str, count: int) -> tuple[str, ...]:
    """Return the names ``PC1``, ``PC2`` and so on."""
    return tuple(f"{stem}{number}" for number in range(1, count + 1))


def _matrix(matrix: Any, key: str, file: Path) -> Tensor:
    """Read a matrix into memory, dense and checked: float64 ``[N, D]``."""
    import scipy.sparse

    matrix = matrix.to_memory() if hasattr(matrix, "to_memory") else matrix
    if len(matrix.shape) != 2 or 0 in matrix.shape:
        raise InputError(
            f"{file}: expected a matrix of cells by numbers in '{key}', got shape {list(matrix.shape)}"
        )
    if matrix.shape[1] > MOST_NUMBERS:
        raise InputError(
            f"{file}: expected at most {MOST_NUMBERS:,} numbers of a cell in '{key}', got "
            f"{matrix.shape[1]:,}; make principal components of them, as scanpy.pp.pca does"
        )
    if scipy.sparse.issparse(matrix):
        check_unpacked(file, FLOAT_BYTES * math.prod(matrix.shape), UNPACKED_ADVICE)
        matrix = matrix.toarray()
    x = plain_tensor(np.asarray(matrix), f"'{key}'", str(file)).double()
    check_finite(x, key, str(file))
    return x
