"""Tables of every condition's leading subspace, and their maximum-likelihood fit.

With the low-rank fit μ, W, ψ of a condition, W̃ = ψ^(-1/2) W = Q S Vᵀ (Q ``[D, r]`` orthonormal, S the
singular values) and λ = 1 + S². What is done with them is :class:`flowprior.priors.frame.Frame`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from flowprior.data.stream import Batch, CheckedBatches
from flowprior.errors import InputError
from flowprior.mixtures import FitSettings, LowRank, Parameters
from flowprior.mixtures.diagonal import Derived
from flowprior.mixtures.em import SUBSPACE_PASSES, fit_mixture
from flowprior.mixtures.moments import ConditionMoments
from flowprior.priors.frame import Frame
from flowprior.priors.row_sample import RowSample, in_pieces

SEED = 20250612
SAMPLE_OF_ALL = 8192
"""Rows, at most, that the low-rank Gaussian of all data beside labels is fitted to."""


class Subspace(nn.Module):
    """Of M conditions: ``loc`` m, ``noise`` ψ ``[M, D]``, ``spread`` λ ``[M, r]``; bases Q ``[G, D, r]``.

    With bases of their own G = M. Where conditions share them, ``basis`` is ``[G, D, R]`` with R ≥ r,
    ``group`` ``[M]`` says which is whose, ``rotation`` U ``[M, R, r]`` turns it to the leading principal axes
    of the condition's own latent covariance, and ``common`` φ ``[G, D]`` is the noise under which the basis
    is orthonormal.
    Of labels 0 … C − 1 the last of M = C + 1 rows is that of the null condition, of all data together;
    without labels, or in files from before there was one, M = C.

    Args:
        conditions: M.
        dim: D.
        rank: r.
        bases: G, or None for bases of their own.
        span: R; None for r.
        dtype: of the buffers.
    """

    loc: Tensor
    noise: Tensor
    basis: Tensor
    spread: Tensor
    group: Tensor
    rotation: Tensor
    common: Tensor

    def __init__(
        self,
        conditions: int = 0,
        dim: int = 0,
        rank: int = 0,
        bases: int | None = None,
        span: int | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.is_shared = bases is not None
        self.register_buffer("loc", torch.zeros(conditions, dim, dtype=dtype))
        self.register_buffer("noise", torch.ones(conditions, dim, dtype=dtype))
        span = rank if span is None else span
        size = (conditions if bases is None else bases, dim, span)
        self.register_buffer("basis", torch.zeros(size, dtype=dtype))
        self.register_buffer("spread", torch.ones(conditions, rank, dtype=dtype))
        if self.is_shared:
            self.register_buffer("group", torch.zeros(conditions, dtype=torch.long))
            self.register_buffer("rotation", torch.zeros(conditions, span, rank, dtype=dtype))
            self.register_buffer("common", torch.ones(self.basis.shape[:2], dtype=dtype))
        self._lengths = Derived(squared_lengths if bases is None else self._turned_lengths)
        self._stretch = Derived(self._stretched)

    @classmethod
    def of(cls, like: Tensor, **values: Tensor) -> Subspace:
        """Tables of the given values, in the dtype and on the device of ``like``."""
        subspace = cls(bases=len(values["basis"]) if "group" in values else None)
        for name, value in values.items():
            setattr(subspace, name, value.to(like).contiguous() if name != "group" else value.to(like.device))
        return subspace

    @classmethod
    def shaped_like(cls, state: dict[str, Tensor]) -> Subspace:
        """Empty tables of the sizes of a saved state's."""
        (bases, dim, span), (conditions, rank) = state["basis"].shape, state["spread"].shape
        return cls(conditions, dim, rank, bases if "group" in state else None, span, state["basis"].dtype)

    @classmethod
    def fit(cls, data: CheckedBatches, rank: int, settings: FitSettings, *, labelled: bool) -> Subspace:
        """The maximum-likelihood low-rank Gaussian of each label and of all rows, or of all rows alone.

        That of all rows beside labels is fitted to a sample of them (:mod:`flowprior.priors.row_sample`).

        Raises:
            InputError: no spread in some dimension, and no ``reg_covar``.
        """
        stream = data if labelled else CheckedBatches(_Unlabelled(data), data.owner)
        moments = ConditionMoments.over(stream.labelled())
        first = data.peek()[0]
        with explaining_degenerate(data.owner, settings.reg_covar):
            mixture = fit_mixture(stream, moments, LowRank(rank), 1, tol=0.0, max_iter=1, settings=settings)
            values = lowrank_tables(mixture.mean, mixture.covariance, first)
        if labelled:
            sample = RowSample.over(data, SAMPLE_OF_ALL)
            null = fit_rows(sample.rows, rank, settings, data.owner)
            values = {name: torch.cat([value, null[name]]) for name, value in values.items()}
        return cls.of(first, **values)

    def frame(self, rows: Tensor, floor: float) -> Frame:
        """The linear part of ``rows`` ``[B]`` of the tables; ``floor`` is what of ψ is the variance floor."""
        tables = (self.loc[rows], self.noise[rows], self.spread[rows], self.basis)
        if not self.is_shared:
            return Frame(*tables, rows, partial(self._lengths.of, self.basis), floor=floor)
        lengths, stretch = partial(self._lengths.of, self.rotation), self._stretch.of(self.noise)[rows]
        return Frame(*tables, self.group[rows], lengths, self.rotation, rows, floor, stretch)

    def turned(self, rotation: Tensor, spread: Tensor) -> Subspace:
        """The same shared bases, with U ``[M, R, r]`` and λ ``[M, r]``."""
        tables = {"loc": self.loc, "noise": self.noise, "basis": self.basis, "spread": spread}
        return Subspace.of(self.loc, **tables, group=self.group, rotation=rotation, common=self.common)

    def _stretched(self, noise: Tensor) -> Tensor:
        """ρ ``[M, D]`` of all conditions."""
        return (self.common[self.group] / noise).sqrt()

    def _turned_lengths(self, rotation: Tensor) -> Tensor:
        """Squared lengths ``[M, D]`` of the rows of ρ ⊙ Q U of each condition."""
        turned = zip(self.group.tolist(), rotation, strict=True)
        lengths = torch.stack([(self.basis[g] @ turn).square().sum(1) for g, turn in turned])
        return lengths * self.common[self.group] / self.noise


def squared_lengths(basis: Tensor) -> Tensor:
    """Squared lengths ``[G, D]`` of the rows of bases ``[G, D, r]``."""
    return basis.square().sum(-1)


def lowrank_tables(mean: Tensor, covariance: Parameters, like: Tensor) -> dict[str, Tensor]:
    """Tables of fitted low-rank Gaussians of one component, float64, bases in their principal axes.

    Raises:
        LinAlgError: a noise variance that is 0 in the dtype of ``like``.
    """
    noise, factor = covariance["noise"][:, 0], covariance["factor"][:, 0]
    if not bool((noise.to(like.dtype) > 0).all()):
        raise torch.linalg.LinAlgError("a dimension has no spread")
    basis, singular, _ = torch.linalg.svd(factor / noise.sqrt()[..., None], full_matrices=False)
    basis, spread = canonical_basis(basis, 1 + singular.square())
    return {"loc": mean[:, 0], "noise": noise, "basis": basis, "spread": spread}


def fit_rows(rows: Tensor, rank: int, settings: FitSettings, owner: str) -> dict[str, Tensor]:
    """The tables ``[1, …]`` of the low-rank Gaussian of ``rows`` ``[n, D]``, which are held in memory.

    The subspace iteration starts from directions of its own, not from ``settings``'s generator.
    """
    pieces = [piece for piece, _ in in_pieces([(rows, None)])]
    moments = ConditionMoments.over((piece, None) for piece in pieces)
    settings = replace(settings, generator=torch.Generator().manual_seed(SEED), single=0.0)
    everything = torch.ones(1, dtype=torch.bool)
    with explaining_degenerate(owner, settings.reg_covar):
        fitter = LowRank(rank).fitter(moments, 1, dtype=rows.dtype, settings=settings)
        for _ in range(SUBSPACE_PASSES):
            for piece in pieces:
                fitter.accumulate(piece, 0, torch.ones(len(piece), 1, dtype=rows.dtype))
            fitter.maximise(everything)
        return lowrank_tables(fitter.mean, fitter.covariance, rows)


@contextmanager
def explaining_degenerate(owner: str, reg_covar: float) -> Iterator[None]:
    """Turn a singular covariance into an InputError that says what to do."""
    try:
        yield
    except torch.linalg.LinAlgError as error:
        raise InputError(
            f"{owner}.fit: a dimension has no spread and reg_covar={reg_covar}, so there "
            "is no density; set reg_covar > 0, such as 1e-6"
        ) from error


class _Unlabelled:
    """The same batches, without their condition."""

    def __init__(self, data: CheckedBatches) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Batch]:
        for x, _ in self.data:
            yield x, None


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
    known_all = (spread > 1 + NEGLIGIBLE).all(1)
    apart = (spread[:, :-1] - spread[:, 1:] > NEGLIGIBLE * spread[:, :-1]).all(1)
    single = known_all & apart  # vectors, of which the nearest is a sign
    signs = torch.where((basis * target).sum(1, keepdim=True) < 0, -1.0, 1.0)
    basis *= torch.where(single[:, None, None], signs, 1.0)
    for i in (~single).nonzero()[:, 0].tolist():
        columns, values = basis[i], spread[i]
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
