"""Coordinates of events in each condition's leading subspace, and back: the linear part of ``flow``.

With the low-rank fit μ, W, ψ of a condition, W̃ = ψ^(-1/2) W = Q S Vᵀ (Q ``[D, r]`` orthonormal, S the
singular values) and λ = 1 + S²:

    y = ψ^(-1/2) (x − μ),   h = λ^(-1/2) Qᵀ y,   y = Q λ^(1/2) h + (I − Q Qᵀ) ε.

Under the low-rank Gaussian h is standard normal. Its latents z = Wᵀ-coordinates inferred from a datum with
coordinates h1 and then noised, z ~ p(z | x1) and x0 ~ p(x0 | z), have

    h0 | h1 ~ N((1 − 1/λ) h1, (2 − 1/λ)/λ),

which over the data has mean 0 and variance 1 again (Tipping & Bishop 1999), but not a Gaussian law.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from flowprior.data.stream import Batch, CheckedBatches
from flowprior.errors import InputError
from flowprior.mixtures import FitSettings, LowRank
from flowprior.mixtures.em import fit_mixture
from flowprior.mixtures.moments import ConditionMoments
from flowprior.ops.mixture import LOG_2PI


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

    def coordinates(self, x: Tensor, rows: Tensor) -> Tensor:
        """h ``[n, r]`` of events x ``[n, D]``; ``rows`` ``[n]`` are their places in the tables."""
        white = (x - self.loc[rows]) * self.noise[rows].rsqrt()
        return times_table(white, rows, self.basis) * self.spread[rows].rsqrt()

    def infer(self, x: Tensor, rows: Tensor, noise: Tensor) -> Tensor:
        """h0 ``[n, r]`` of a source sample with latents inferred from x, by normal ``noise`` ``[n, r]``."""
        spread = self.spread[rows]
        h = self.coordinates(x, rows)
        return (1 - 1 / spread) * h + ((2 - 1 / spread) / spread).sqrt() * noise

    def place(self, h: Tensor, rows: Tensor, epsilon: Tensor) -> Tensor:
        """Events ``[n, D]`` with coordinates h and, outside the subspace, noise from ε ``[n, D]``."""
        along = h * self.spread[rows].sqrt() - times_table(epsilon, rows, self.basis)
        white = epsilon + times_table(along, rows, self.basis.mT)
        return self.loc[rows] + self.noise[rows].sqrt() * white

    def log_density_around(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """h ``[n, r]``, and log p(x) − log p(h) ``[n]``: the complement's Gaussian and the Jacobian."""
        white = (x - self.loc[rows].to(x.dtype)) * self.noise[rows].to(x.dtype).rsqrt()
        along = times_table(white, rows, self.basis)
        residual = white - times_table(along, rows, self.basis.mT)
        spread = self.spread[rows].to(x.dtype)
        log_det = 0.5 * (spread.log().sum(1) + self.noise[rows].to(x.dtype).log().sum(1))
        outside = x.shape[1] - along.shape[1]
        density = -0.5 * (residual.square().sum(1) + outside * LOG_2PI) - log_det
        return along * spread.rsqrt(), density


def times_table(x: Tensor, rows: Tensor, tables: Tensor) -> Tensor:
    """x_i times the matrix of its row, ``[n, M]``: x ``[n, L]``, ``rows`` ``[n]``, tables ``[C, L, M]``."""
    if not len(x):
        return x.new_zeros(0, tables.shape[-1])
    keys, order = rows.sort(stable=True)
    values, counts = keys.unique_consecutive(return_counts=True)
    parts = x[order].split(counts.tolist())
    products = [part @ tables[row].to(x.dtype) for part, row in zip(parts, values.tolist(), strict=True)]
    return torch.cat(products)[order.argsort()]


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
