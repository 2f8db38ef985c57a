"""Single cells: annotated matrices (.h5ad) read through anndata."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowprior.data.base import DATA, Split, TensorData
from flowprior.data.splits import check_split, split_indices
from flowprior.data.user_tensors import check_finite, plain_tensor
from flowprior.errors import DataNotFoundError, InputError
from flowprior.storage.user_paths import existing_file

PBMC_FILE = "10x_pbmc68k_reduced.h5ad"


@DATA.register("cells")
def cells(
    split: Split = "train",
    path: str | None = None,
    label: str | None = "bulk_labels",
    representation: str = "X_pca",
    test_fraction: float = 0.2,
    seed: int = 0,
) -> TensorData:
    """Cells of an .h5ad file, by default 700 PBMC of 10 types from the scanpy wheel: PCA vectors [50].

    The vectors are divided by one number, so that the mean variance of their coordinates over the
    training split is 1; it is kept as ``data.scale``.

    Args:
        split: ``"train"`` or ``"test"``; each cell type is divided by ``test_fraction`` on its own.
        path: the file; None looks for the one that scanpy brings.
        label: column of ``obs`` with the cell type, or None for no condition.
        representation: key of ``obsm``, such as ``X_pca``.
        test_fraction: share of the cells held out, in [0, 1); 0 puts all of them into both splits.
        seed: another seed gives another split.

    Raises:
        DataNotFoundError: no such file, or anndata is not installed; the message says what brings it.
        InputError: the file is corrupt or lacks the representation or the column.
    """
    check_split(split)
    file = _find(path)
    annotated = _read(file)
    x = _representation(annotated, representation, file)
    cond, names = _labels(annotated, label, file) if label is not None else (None, None)
    parts = {"test_fraction": test_fraction, "seed": seed, "labels": cond}
    train = split_indices(len(x), "train", **parts)
    scale = float(x[train].var(dim=0, correction=0).mean().sqrt()) or 1.0
    chosen = split_indices(len(x), split, **parts)
    kept = None if cond is None else cond[chosen]
    name = "cells" if path is None else str(file)
    classes = None if names is None else len(names)
    data = CellData((x[chosen] / scale).float(), kept, name=name, classes=classes, class_names=names)
    data.scale = scale
    return data


class CellData(TensorData):
    """Cells in memory; ``x * scale`` is the stored representation."""

    scale: float = 1.0


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


def _read(file: Path) -> Any:
    try:
        import anndata
    except ImportError as error:
        raise DataNotFoundError(
            "cells: reading .h5ad files needs anndata; run `pip install 'flowprior[cells]'`"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # old files' layout, which anndata still reads
            return anndata.read_h5ad(file)
    except Exception as error:  # anndata and h5py raise a dozen kinds for a damaged file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{file}: cannot be read as .h5ad ({reason}); write or download it again") from error


def _representation(annotated: Any, key: str, file: Path) -> Tensor:
    """float64 ``[N, D]``."""
    if key not in annotated.obsm:
        known = ", ".join(annotated.obsm) or "none"
        raise InputError(
            f"{file}: no representation '{key}' in obsm; known: {known}; name one, as in --data "
            "cells:path=FILE,representation=NAME. The counts in X are not read: put a PCA of them "
            "there first, such as annotated.obsm['X_pca'] = pca"
        )
    matrix = annotated.obsm[key]
    dense = matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)
    x = plain_tensor(dense, f"'{key}'", str(file)).double()
    if x.dim() != 2 or not x.numel():
        raise InputError(f"{file}: expected cells by numbers in '{key}', got shape {list(x.shape)}")
    check_finite(x, key, str(file))
    return x


def _labels(annotated: Any, column: str, file: Path) -> tuple[Tensor, list[str]]:
    """Labels int64 ``[N]`` and class names; classes that no cell has are left out."""
    if column not in annotated.obs:
        known = ", ".join(map(str, annotated.obs)) or "none"
        raise InputError(
            f"{file}: no column '{column}' in obs; known: {known}; name one, as in "
            "--data cells:path=FILE,label=NAME (label=None for none)"
        )
    values = annotated.obs[column]
    if values.isna().any():
        raise InputError(f"{file}: {int(values.isna().sum())} cells have no '{column}'; drop or label them")
    values = values.astype("category").cat.remove_unused_categories()
    names = [str(name) for name in values.cat.categories]
    return torch.from_numpy(values.cat.codes.to_numpy().astype(np.int64)), names
