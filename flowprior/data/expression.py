"""Expression ``[cells, genes]``: raw counts made comparable between cells, and principal components."""

from __future__ import annotations

from typing import Any

import numpy as np

TARGET = 10_000.0
"""Counts of a cell after normalisation, as scanpy's tutorials have it."""


def are_counts(values: Any) -> bool:
    """Whether a matrix, dense or sparse, has raw counts: whole numbers from 0 on, some above 1."""
    stored = values if isinstance(values, np.ndarray) else values.data
    if not stored.size or stored.min() < 0 or stored.max() <= 1:
        return False
    return bool((stored == np.rint(stored)).all())


def log_normalised(counts: Any) -> Any:
    """log(1 + 10,000 n / Σ n) of counts n ``[cells, genes]``, the sum that of the cell; dense stays dense."""
    totals = np.asarray(counts.sum(1), dtype=np.float64).reshape(-1, 1)
    factors = (TARGET / np.maximum(totals, 1.0)).astype(np.float32)
    if isinstance(counts, np.ndarray):
        return np.log1p(counts * factors)
    return counts.multiply(factors).tocsr().log1p()


def principal_components(values: Any, count: int) -> Any:
    """scikit-learn's PCA with ``count`` components, fitted to ``[cells, genes]``, dense or sparse."""
    from sklearn.decomposition import PCA

    solver = "auto" if isinstance(values, np.ndarray) else "arpack"
    return PCA(count, svd_solver=solver, random_state=0).fit(values)
