"""Tables of every condition's leading subspace, and their maximum-likelihood fit.

With the low-rank fit μ, W, ψ of a condition, W̃ = ψ^(-1/2) W = Q S Vᵀ (Q ``[D, r]`` orthonormal, S the
singular values) and λ = 1 + S². What is done with them is :class:`flowprior.priors.frame.Frame`'s.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from flowprior.data.stream import Batch, CheckedBatches
from flowprior.errors import InputError
from flowprior.mixtures import FitSettings, LowRank
from flowprior.mixtures.diagonal import Derived
from flowprior.mixtures.em import fit_mixture
from flowprior.mixtures.moments import ConditionMoments
from flowprior.priors.frame import Frame


class Subspace(nn.Module):
    """Of C conditions: ``loc`` μ, ``noise`` ψ ``[C, D]``; ``basis`` Q ``[C, D, r]``, ``spread`` λ ``[C, r]``.

    Args:
        conditions: C.
        dim: D.
        rank: r.
        dtype: of the buffers.
    """

    loc: Tensor
    noise: Tensor
    basis: Tensor
    spread: Tensor

    def __init__(
        self, conditions: int = 0, dim: int = 0, rank: int = 0, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(conditions, dim, dtype=dtype))
        self.register_buffer("noise", torch.ones(conditions, dim, dtype=dtype))
        self.register_buffer("basis", torch.zeros(conditions, dim, rank, dtype=dtype))
        self.register_buffer("spread", torch.ones(conditions, rank, dtype=dtype))
        self._lengths = Derived(squared_lengths)

    @classmethod
    def fit(cls, data: CheckedBatches, rank: int, settings: FitSettings, *, labelled: bool) -> Subspace:
        """The maximum-likelihood low-rank Gaussian of each label, or of all rows.

        Raises:
            InputError: no spread in some dimension, and no ``reg_covar``.
        """
        stream = data if labelled else CheckedBatches(_Unlabelled(data), data.owner)
        moments = ConditionMoments.over(stream.labelled())
        first = data.peek()[0]
        degenerate = (
            f"{data.owner}.fit: a dimension has no spread and reg_covar={settings.reg_covar}, so there "
            "is no density; set reg_covar > 0, such as 1e-6"
        )
        try:
            mixture = fit_mixture(stream, moments, LowRank(rank), 1, tol=0.0, max_iter=1, settings=settings)
        except torch.linalg.LinAlgError as error:
            raise InputError(degenerate) from error
        noise, factor = mixture.covariance["noise"][:, 0], mixture.covariance["factor"][:, 0]
        if not bool((noise.to(first.dtype) > 0).all()):
            raise InputError(degenerate)
        basis, singular, _ = torch.linalg.svd(factor / noise.sqrt()[..., None], full_matrices=False)
        basis, spread = canonical_basis(basis, 1 + singular.square())
        subspace = cls()
        values = {"loc": mixture.mean[:, 0], "noise": noise, "basis": basis, "spread": spread}
        for name, value in values.items():
            setattr(subspace, name, value.to(first).contiguous())
        return subspace

    def frame(self, rows: Tensor, floor: float) -> Frame:
        """The linear part of ``rows`` ``[B]`` of the tables; ``floor`` is what of ψ is the variance floor."""
        lengths = self._lengths.of(self.basis)
        tables = (self.loc[rows], self.noise[rows], self.spread[rows])
        return Frame(*tables, self.basis, rows, lengths, floor=floor)


def squared_lengths(basis: Tensor) -> Tensor:
    """Squared lengths ``[G, D]`` of the rows of bases ``[G, D, r]``."""
    return basis.square().sum(-1)


class _Unlabelled:
    """The same batches, without their condition."""

    def __init__(self, data: CheckedBatches) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Batch]:
        for x, _ in self.data:
            yield x, None


SEED = 20250612
NEGLIGIBLE = 1e-6
"""Excess of an eigenvalue over 1, and relative distance of two eigenvalues, that count as none."""


def canonical_basis(basis: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Q and λ again, float64, with signs, rotations and directions without spread chosen by convention.

    Singular vectors are known up to their sign, those of equal singular values up to a rotation, and those of
    singular value 0, which a rank beyond the data's has, not at all. A law that is fitted in their
    coordinates afterwards depends on which of them it gets, and so would every draw.

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
