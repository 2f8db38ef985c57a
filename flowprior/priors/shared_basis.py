"""Bases that labels share: fitted in a few passes, without a basis a label.

The basis Q and the pooled noise ψ are those of the maximum-likelihood low-rank Gaussian of the residuals
x − m_c within labels, found by subspace iteration on a sample of rows (randomised range finder: Halko,
Martinsson & Tropp 2011). Labels then differ in three things, each of one pass:

- their mean m_c;
- their noise ψ_c (:mod:`flowprior.priors.shared_noise`);
- the covariance S_c of their coordinates. What labels share is the subspace of events, spanned by ψ^½ Q;
  a basis of it that is orthonormal in the label's whitened coordinates is ρ ⊙ Q G_c^(-1/2), with
  ρ = (ψ/ψ_c)^½ and G_c = Qᵀ ρ² Q. S_c has eigenvectors V and eigenvalues λ_c, at least 1; with
  U_c = G_c^(-1/2) V, h is white in the label's own axes.


A basis may have more dimensions than a label has latents: R of them hold the leading r directions of every
label better than r do. Then the first r columns of U_c are kept, and what varies along the others is noise of
the label.

Labels of few examples are drawn to the pooled moments. S_c becomes (1 − w) S_c + w S, with S the pooled one
and, as for the identity in Ledoit & Wolf (2004),

    w = min(1, (r² + r)/(n_c ‖S^(-1/2) S_c S^(-1/2) − I‖²)),

what a Gaussian sample of n_c rows is off by over how far the label is off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from flowprior.data.stream import Batch, CheckedBatches
from flowprior.mixtures import FitSettings
from flowprior.mixtures.grouped import times_table
from flowprior.mixtures.kmeans import clusters
from flowprior.mixtures.moments import ConditionMoments
from flowprior.mixtures.segments import segments
from flowprior.priors.lowrank_tables import canonical_basis, fit_rows
from flowprior.priors.row_sample import PIECE, RowSample, first_rows, in_pieces
from flowprior.priors.shared_noise import (
    LEAST_RESIDUAL,
    PRIOR_ROWS,
    noise_beside,
    noise_outside,
    rows_each,
    scaled,
)
from flowprior.priors.subspace import Subspace

SAMPLE = 65_536
"""Rows, at most, that bases are found on."""
ROUNDS = 3
"""Of the fixed point of the noise beside latents that are fewer than the basis has dimensions."""


class Sizes(NamedTuple):
    """R dimensions of a basis that labels share, and r ≤ R latents of each label."""

    span: int
    rank: int


class CoordinateScatter:
    """Second moments about 0 of the coordinates of each label, in float64.

    Attributes:
        count: ``[C]``.
        scatter: sums of outer products ``[C, r, r]``.
    """

    def __init__(self, conditions: int, rank: int) -> None:
        self.count = torch.zeros(conditions, dtype=torch.float64)
        self.scatter = torch.zeros(conditions, rank, rank, dtype=torch.float64)

    @classmethod
    def over(cls, batches: Iterable[Batch], conditions: int, rank: int) -> CoordinateScatter:
        """One pass over (coordinates ``[B, r]``, labels)."""
        found = cls(conditions, rank)
        for rows, label in segments(batches, conditions):
            wide = rows.double()
            found.count[label] += len(wide)
            found.scatter[label].addmm_(wide.T, wide)
        return found

    def pooled(self) -> Tensor:
        """The mean outer product of all rows ``[r, r]``."""
        return self.scatter.sum(0) / self.count.sum()


def fit_shared(
    data: CheckedBatches,
    moments: ConditionMoments,
    sizes: Sizes,
    groups: int,
    settings: FitSettings,
) -> Subspace:
    """Bases shared by ``groups`` groups of labels, which the fit finds; the last basis is the null one's.

    Args:
        data: batches (x ``[B, D]``, labels).
        moments: of each label.
        sizes: of the bases and of the labels' latents.
        groups: 1 for one basis of all labels.
        settings: ``reg_covar`` is the variance floor.

    Raises:
        InputError: no spread in some dimension, and no ``reg_covar``.
    """
    sample = RowSample.over(data, SAMPLE)
    rows, like = sample.rows, data.peek()[0]
    null = fit_rows(rows, sizes.rank, settings, data.owner)
    loc = _centres(moments).to(like)
    _centre(rows, loc, sample.labels)
    tables = [fit_rows(rows, sizes.span, settings, data.owner)]
    group = torch.zeros(len(loc), dtype=torch.long)
    if groups > 1:
        group = _group_labels(data, _start(loc, tables, group, like), groups)
        parts = [rows[group[sample.labels] == g] for g in range(int(group.max()) + 1)]
        pooled = tables[0]
        tables = [fit_rows(part, sizes.span, settings, data.owner) if len(part) else pooled for part in parts]
    del sample, rows
    subspace = _start(loc, tables, group, like)
    subspace.noise = noise_outside(data, subspace, moments, settings.reg_covar)
    rank = null["spread"].shape[1]
    rotation, spread = _axes(data, subspace, rank)
    for _ in range(ROUNDS if rank < rotation.shape[1] else 0):
        turned = subspace.turned(rotation, spread)
        subspace.noise = noise_beside(data, turned, moments, settings.reg_covar)
        rotation, spread = _axes(data, subspace, rank)
    subspace.loc = moments.mean.to(like)
    return _with_null(subspace, rotation, spread, null)


def _centres(moments: ConditionMoments) -> Tensor:
    """What rows are taken about ``[C, D]``: their label's mean, or that of all data where it has one example.

    About its own mean one example has no spread, which would make the others', that it is pooled with, less.
    """
    return torch.where((moments.count == 1)[:, None], moments.pooled().mean, moments.mean)


def _centre(rows: Tensor, loc: Tensor, labels: Tensor) -> None:
    """Take their label's mean from rows ``[n, D]``, in place."""
    for x, c in in_pieces([(rows, labels)]):
        x -= loc[c]


def _start(loc: Tensor, tables: list[dict[str, Tensor]], group: Tensor, like: Tensor) -> Subspace:
    """Labels with their means and, of their group, noise and basis; not turned yet."""
    rank = tables[0]["basis"].shape[2]
    noise = torch.cat([table["noise"] for table in tables])[group]
    basis = torch.cat([table["basis"] for table in tables])
    common = torch.cat([table["noise"] for table in tables])
    values = {"loc": loc, "noise": noise, "basis": basis, "spread": torch.ones(len(loc), rank)}
    return Subspace.of(like, **values, group=group, rotation=torch.zeros(0, rank, rank), common=common)


def _coordinates(data: Iterable[Batch], subspace: Subspace) -> Iterator[Batch]:
    """(ρ ⊙ Q)ᵀ y ``[n, r]`` of the rows with their labels, y = ψ_c^(-1/2) (x − m_c)."""
    scale = subspace.common.sqrt()[subspace.group] / subspace.noise
    for white, c in scaled(data, subspace.loc, scale):
        yield times_table(white, subspace.group[c], subspace.basis), c


def _group_labels(data: CheckedBatches, subspace: Subspace, groups: int) -> Tensor:
    """The group of each label ``[C]``, by its covariance in the common basis on its first rows."""
    conditions, rank = subspace.spread.shape
    few = first_rows(data, conditions, rows_each(conditions))
    found = CoordinateScatter.over(_coordinates(few, subspace), conditions, rank)
    covariance = (found.scatter + PRIOR_ROWS * found.pooled()) / (found.count + PRIOR_ROWS)[:, None, None]
    shape = covariance / covariance.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    return clusters(shape.flatten(1).float(), groups).unique(return_inverse=True)[1]


def _axes(data: CheckedBatches, subspace: Subspace, rank: int) -> tuple[Tensor, Tensor]:
    """U ``[C, R, r]`` and λ ``[C, r]``, falling, of each label: see the module."""
    conditions, span = subspace.spread.shape
    found = CoordinateScatter.over(_coordinates(data, subspace), conditions, span)
    roots = subspace.loc.new_empty(conditions, span, span)
    rotation = subspace.loc.new_zeros(conditions, span, rank)
    spread = subspace.loc.new_zeros(conditions, rank)
    chunks = torch.arange(conditions).split(max(1, PIECE // subspace.basis[0].numel()))
    for c in chunks:
        roots[c] = _inverse_root(_grams(subspace, c)).to(roots)
        root = roots[c].double()
        found.scatter[c] = root @ found.scatter[c] @ root
    target = Target(found, subspace.group, chunks)
    for c in chunks:
        turned, fallen = canonical_basis(*target.leading_axes(found, c, rank))
        rotation[c], spread[c] = roots[c] @ turned.to(roots), fallen.to(spread)
    return rotation, spread


def _grams(subspace: Subspace, c: Tensor) -> Tensor:
    """G_c = Qᵀ ρ² Q ``[n, r, r]`` of the labels c ``[n]``, float64."""
    group = subspace.group[c]
    ratio = subspace.common[group] / subspace.noise[c]
    basis = subspace.basis[group]
    return (basis.mT @ (basis * ratio[..., None])).double()


def _inverse_root(gram: Tensor) -> Tensor:
    """The symmetric inverse square roots of positive definite matrices ``[n, r, r]``."""
    values, vectors = torch.linalg.eigh(gram)
    return (vectors * values.rsqrt()[:, None]) @ vectors.mT


class Target:
    """The pooled covariances of groups of labels, ``[G, r, r]``, which their labels are drawn to.

    Args:
        found: second moments of the labels.
        group: of each label, ``[C]``.
        chunks: all labels, in pieces.
    """

    def __init__(self, found: CoordinateScatter, group: Tensor, chunks: Sequence[Tensor]) -> None:
        shape = (int(group.max()) + 1, *found.scatter.shape[1:])
        count = found.count.new_zeros(shape[0]).index_add_(0, group, found.count)
        total = found.scatter.new_zeros(shape)
        for c in chunks:
            total.index_add_(0, group[c], found.scatter[c])
        pooled = total.sum(0) / count.sum()
        counted = (count > 0)[:, None, None]
        self.group = group
        self.covariance = torch.where(counted, total / count.clamp_min(1)[:, None, None], pooled)
        self.whitener = _whitener(self.covariance)

    def leading_axes(self, found: CoordinateScatter, c: Tensor, rank: int) -> tuple[Tensor, Tensor]:
        """The leading axes ``[n, R, r]`` of the labels c ``[n]``, and the variances along them ``[n, r]``.

        Where some are left out, the covariance along the others is drawn to the pooled one by itself: with
        the weight of r dimensions, not of R.
        """
        count, group = found.count[c], self.group[c]
        own, pooled = found.scatter[c] / count.clamp_min(1)[:, None, None], self.covariance[group]
        values, vectors = torch.linalg.eigh(_drawn(own, pooled, self.whitener[group], count))
        if rank < vectors.shape[2]:
            axes = vectors[..., -rank:]
            own, pooled = axes.mT @ own @ axes, axes.mT @ pooled @ axes
            values, vectors = torch.linalg.eigh(_drawn(own, pooled, _whitener(pooled), count))
            vectors = axes @ vectors
        return vectors.flip(2), values.flip(1).clamp_min(1)


def _whitener(covariance: Tensor) -> Tensor:
    """T ``[n, r, r]`` with Tᵀ S T = I for covariances S ``[n, r, r]``."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp_min(values[:, -1:] * LEAST_RESIDUAL).rsqrt()[:, None]


def _drawn(own: Tensor, pooled: Tensor, whitener: Tensor, count: Tensor) -> Tensor:
    """(1 − w) S_c + w S ``[n, r, r]`` with the module's weights w for labels of ``count`` ``[n]`` rows."""
    rank = own.shape[2]
    off = whitener.mT @ own @ whitener
    off.diagonal(dim1=1, dim2=2).sub_(1)
    away = count * off.square().sum((1, 2))
    weight = ((rank * rank + rank) / away.clamp_min(LEAST_RESIDUAL)).clamp_max(1)
    return torch.lerp(own, pooled, weight[:, None, None])


def _with_null(subspace: Subspace, rotation: Tensor, spread: Tensor, null: dict[str, Tensor]) -> Subspace:
    """The tables with the row of the null condition, whose basis is the last one."""
    span, rank = rotation.shape[1:]
    null = null | {"basis": torch.nn.functional.pad(null["basis"], (0, span - rank))}
    tables = {"loc": subspace.loc, "noise": subspace.noise, "basis": subspace.basis, "spread": spread}
    tables = {name: torch.cat([table, null[name].to(table)]) for name, table in tables.items()}
    tables["common"] = torch.cat([subspace.common, null["noise"].to(subspace.common)])
    tables["group"] = torch.cat([subspace.group, torch.tensor([len(subspace.basis)])])
    tables["rotation"] = torch.cat([rotation, torch.eye(span, rank).to(rotation)[None]])
    return Subspace.of(subspace.loc, **tables)
