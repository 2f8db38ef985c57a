"""The tables of a subspace prior, as the operators on them take them, and their checks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.ops.shapes import check_alike, check_labels

BASIS_COLUMNS = 16
"""Columns of transposed bases come in whole pieces of so many."""
MOST_AXES = 512
"""Of a basis: what a CUDA block keeps of them in shared memory."""
LEAST_ROOM = 1e-6
"""Of a coordinate outside of the subspace, where its share of the variance is divided by it."""


class SubspaceTables(NamedTuple):
    """The linear part of a subspace prior for each of B rows (:mod:`flowprior.priors.frame`).

    Attributes:
        loc: m ``[B, D]``.
        noise: ψ ``[B, D]``.
        spread: λ ``[B, r]``.
        basis: Qᵀ of each condition ``[C, r, W]``, W a multiple of 16, filled up with 0 from D on; see
            :func:`transposed_bases`.
        cond: which basis each row takes, int64 ``[B]``.
    """

    loc: Tensor
    noise: Tensor
    spread: Tensor
    basis: Tensor
    cond: Tensor


def transposed_bases(basis: Tensor) -> Tensor:
    """Bases ``[C, D, r]`` as the operators take them, ``[C, r, W]``."""
    dim = basis.shape[1]
    width = -(-dim // BASIS_COLUMNS) * BASIS_COLUMNS
    return torch.nn.functional.pad(basis.mT, (0, width - dim)).contiguous()


def check_tables(owner: str, x: Tensor, tables: SubspaceTables) -> Tensor:
    """The condition of each row of x ``[B, D]``, checked, as everything else of the tables is.

    Raises:
        InputError: shapes, dtypes or devices that do not fit, or (on the CPU) an unknown condition.
    """
    loc, noise, spread, basis, cond = tables
    fits = (
        x.dim() == 2
        and basis.dim() == 3
        and loc.shape == noise.shape == x.shape
        and spread.shape == (len(x), basis.shape[1])
        and 0 < basis.shape[1] <= MOST_AXES
        and basis.shape[2] % BASIS_COLUMNS == 0
        and 0 < x.shape[1] <= basis.shape[2]
    )
    if not fits:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in (x, loc, noise, spread, basis))
        raise InputError(
            f"{owner}: expected rows, loc and noise [B, D], spread [B, r] and basis [C, r, W] with "
            f"1 <= r <= {MOST_AXES}, W >= D and W a multiple of {BASIS_COLUMNS}, got {shapes}; "
            "transposed_bases makes such a basis"
        )
    check_alike(owner, x=x, loc=loc, noise=noise, spread=spread, basis=basis)
    if x.dtype not in (torch.float32, torch.float64):
        raise InputError(f"{owner}: expected float32 or float64, got {x.dtype}")
    cond = check_labels(owner, cond, len(basis), x)
    if len(cond) != len(x):
        raise InputError(f"{owner}: expected cond [B] with B = {len(x)}, got {list(cond.shape)}")
    return cond
