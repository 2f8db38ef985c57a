"""One basis among the many that serve a fit equally well, chosen so that rounding does not decide.

Singular vectors are known up to their sign, those of equal singular values up to a rotation, and those of
singular value 0, which a rank beyond the data's has, not at all. A law that is fitted in their
coordinates afterwards depends on which of them it gets, and so would every draw.
"""

from __future__ import annotations

import torch
from torch import Tensor

SEED = 20250612
NEGLIGIBLE = 1e-6
"""Excess of an eigenvalue over 1, and relative distance of two eigenvalues, that count as none."""


def canonical_basis(basis: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Q and λ again, float64, with signs, rotations and directions without spread chosen by convention.

    The convention is nearness to fixed pseudo-random directions G: among the bases of a subspace of equal λ
    the one nearest to G in the Frobenius norm (orthogonal Procrustes problem, Schönemann 1966), which for one
    vector is its sign; and for λ = 1 the part of G outside the other directions.

    Args:
        basis: Q ``[C, D, r]`` with orthonormal columns.
        spread: λ ``[C, r]``, falling, at least 1.
    """
    dim, rank = basis.shape[1:]
    generator = torch.Generator().manual_seed(SEED)
    target = torch.randn(dim, rank, generator=generator, dtype=torch.float64)
    basis, spread = basis.double().clone(), spread.double().clone()
    for columns, values in zip(basis, spread, strict=True):
        known = int((values > 1 + NEGLIGIBLE).sum())
        for begin, end in _equal_runs(values[:known]):
            columns[:, begin:end] = _nearest(columns[:, begin:end], target[:, begin:end])
            values[begin:end] = values[begin:end].mean()
        columns[:, known:] = _outside(columns[:, :known], target[:, known:])
        values[known:] = 1
    return basis, spread


def _equal_runs(values: Tensor) -> list[tuple[int, int]]:
    """Begin and end of every run of falling ``values`` ``[n]`` that are equal but for rounding."""
    if not len(values):
        return []
    apart = (values[:-1] - values[1:]) > NEGLIGIBLE * values[:-1]
    ends = [*(apart.nonzero()[:, 0] + 1).tolist(), len(values)]
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _nearest(columns: Tensor, target: Tensor) -> Tensor:
    """``columns`` ``[D, m]``, turned among themselves to be nearest to ``target`` ``[D, m]``."""
    left, _, right = torch.linalg.svd(columns.T @ target)
    return columns @ (left @ right)


def _outside(known: Tensor, target: Tensor) -> Tensor:
    """Orthonormal columns ``[D, m]`` at right angles to ``known``, from ``target`` ``[D, m]``."""
    for _ in range(2):  # the second time takes away what rounding left of the first
        factors = torch.linalg.qr(target - known @ (known.T @ target))
        target = factors.Q * torch.where(factors.R.diagonal() < 0, -1.0, 1.0)
    return target
