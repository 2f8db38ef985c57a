"""Bases that labels share: fitted in a few passes, without a basis a label, and mergeable over workers.

The basis Q and the pooled noise ψ are those of the maximum-likelihood low-rank Gaussian of the residuals
x − m_c within labels, found by subspace iteration on a sample of rows (randomised range finder: Halko,
Martinsson & Tropp 2011). Labels then differ in three things, each of one pass:

- their mean m_c;
- their noise: with R_c the label's mean squared residual outside the basis, in each coordinate, R the pooled
  one and f the variance floor, ψ_c = min(ψ (R_c + f)/(R + f), f + V_c (1 − l + l (ψ − f)/V)), with V_c and V
  the label's and the pooled variance and l the coordinate's leverage. Then the variance outside, ψ_c (1 − l),
  is R_c + f as ψ's is R + f. Without the bound a coordinate that the basis holds almost whole (l near 1),
  where R is next to nothing, would get any noise; with it, there, the pooled share of its variance at most.
- the covariance S_c of their coordinates. What labels share is the subspace of events, spanned by ψ^½ Q;
  a basis of it that is orthonormal in the label's whitened coordinates is ρ ⊙ Q G_c^(-1/2), with
  ρ = (ψ/ψ_c)^½ and G_c = Qᵀ ρ² Q. S_c has eigenvectors V and eigenvalues λ_c, at least 1; with
  U_c = G_c^(-1/2) V, h is white in the label's own axes.

Labels of few examples are drawn to the pooled moments. R_c and V_c get ``PRIOR_ROWS`` examples' worth of
them. S_c becomes (1 − w) S_c + w S, with S the pooled one and, as for the identity in Ledoit & Wolf (2004),

    w = min(1, (r² + r)/(n_c ‖S^(-1/2) S_c S^(-1/2) − I‖²)),

what a Gaussian sample of n_c rows is off by over how far the label is off. A label with one example has its
mean halfway to that of all data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from flowprior.data.stream import Batch, CheckedBatches
from flowprior.mixtures import FitSettings
from flowprior.mixtures.grouped import times_table
from flowprior.mixtures.kmeans import clusters
from flowprior.mixtures.lowrank import LEAST_NOISE
from flowprior.mixtures.moments import ConditionMoments
from flowprior.mixtures.segments import segments
from flowprior.priors.row_sample import PIECE, RowSample, first_rows, in_pieces
from flowprior.priors.subspace import Subspace, canonical_basis, fit_rows

SAMPLE = 65_536
"""Rows, at most, that bases are found on."""
ROWS_OF_NOISE = 200
"""Rows of each label, at least, whose residuals outside the basis are looked at; of few labels more."""
PRIOR_ROWS = 16.0
"""How many examples' worth of the pooled moments a label's noise is given."""
LEAST_RESIDUAL = 1e-12


class CoordinateScatter:
    """Second moments about 0 of the coordinates of each label, in float64; mergeable.

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

    def merge(self, other: CoordinateScatter) -> None:
        """Join another worker's sums into these."""
        self.count += other.count
        self.scatter += other.scatter

    def pooled(self) -> Tensor:
        """The mean outer product of all rows ``[r, r]``."""
        return self.scatter.sum(0) / self.count.sum()


class OutsideResiduals:
    """Sums of squared residuals outside the basis, ``[C, D]``, and their ``count`` ``[C]``; mergeable."""

    def __init__(self, conditions: int, dim: int) -> None:
        self.count = torch.zeros(conditions, dtype=torch.float64)
        self.total = torch.zeros(conditions, dim, dtype=torch.float64)

    def update(self, residuals: Tensor, labels: Tensor) -> None:
        """Add rows ``[B, D]`` with labels ``[B]``."""
        self.count += torch.bincount(labels, minlength=len(self.count))
        self.total.index_add_(0, labels, residuals.double().square_())

    def merge(self, other: OutsideResiduals) -> None:
        """Join another worker's sums into these."""
        self.count += other.count
        self.total += other.total


def fit_shared(
    data: CheckedBatches, moments: ConditionMoments, rank: int, groups: int, settings: FitSettings
) -> Subspace:
    """Bases shared by ``groups`` groups of labels, which the fit finds; the last basis is the null one's.

    Args:
        data: batches (x ``[B, D]``, labels).
        moments: of each label.
        rank: r.
        groups: 1 for one basis of all labels.
        settings: ``reg_covar`` is the variance floor; one example gets ``single`` pooled ones.

    Raises:
        InputError: no spread in some dimension, and no ``reg_covar``.
    """
    sample = RowSample.over(data, SAMPLE)
    rows, like = sample.rows, data.peek()[0]
    null = fit_rows(rows, rank, settings, data.owner)
    loc = _means(moments, settings.single).to(like)
    _centre(rows, loc, sample.labels)
    tables = [fit_rows(rows, rank, settings, data.owner)]
    group = torch.zeros(len(loc), dtype=torch.long)
    if groups > 1:
        group = _group_labels(data, _start(loc, tables, group, like), groups)
        parts = [rows[group[sample.labels] == g] for g in range(int(group.max()) + 1)]
        pooled, tables = tables[0], []
        for part in parts:
            tables.append(fit_rows(part, rank, settings, data.owner) if len(part) else pooled)
    del sample, rows
    subspace = _start(loc, tables, group, like)
    subspace.noise = _noise(data, subspace, moments, settings.reg_covar)
    rotation, spread = _axes(data, subspace)
    return _with_null(subspace, rotation, spread, null)


def _rows_each(labels: int) -> int:
    return max(ROWS_OF_NOISE, SAMPLE // labels)


def _means(moments: ConditionMoments, single: float) -> Tensor:
    """Means of the labels ``[C, D]``; one example is given ``single`` examples of the mean of all data."""
    one = (moments.count == 1)[:, None]
    pooled = moments.pooled().mean
    return torch.where(one, (moments.mean + single * pooled) / (1 + single), moments.mean)


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


def _scaled(data: Iterable[Batch], loc: Tensor, scale: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows s_c (x − m_c) ``[n, D]`` with their labels, a few at a time; tables ``[C, D]``."""
    for x, cond in in_pieces(data):
        assert cond is not None
        c = cond.cpu()
        yield (x.detach().cpu() - loc[c]).mul_(scale[c]), c


def _coordinates(data: Iterable[Batch], subspace: Subspace) -> Iterator[Batch]:
    """(ρ ⊙ Q)ᵀ y ``[n, r]`` of the rows with their labels, y = ψ_c^(-1/2) (x − m_c)."""
    scale = subspace.common.sqrt()[subspace.group] / subspace.noise
    for white, c in _scaled(data, subspace.loc, scale):
        yield times_table(white, subspace.group[c], subspace.basis), c


def _group_labels(data: CheckedBatches, subspace: Subspace, groups: int) -> Tensor:
    """The group of each label ``[C]``, by its covariance in the common basis on its first rows."""
    conditions, rank = subspace.spread.shape
    few = first_rows(data, conditions, _rows_each(conditions))
    found = CoordinateScatter.over(_coordinates(few, subspace), conditions, rank)
    covariance = (found.scatter + PRIOR_ROWS * found.pooled()) / (found.count + PRIOR_ROWS)[:, None, None]
    shape = covariance / covariance.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    return clusters(shape.flatten(1).float(), groups).unique(return_inverse=True)[1]


def _noise(data: CheckedBatches, subspace: Subspace, moments: ConditionMoments, floor: float) -> Tensor:
    """ψ_c ``[C, D]`` of every label: see the module."""
    found = OutsideResiduals(*subspace.loc.shape)
    few, scale = first_rows(data, len(found.count), _rows_each(len(found.count))), subspace.noise.rsqrt()
    for white, c in _scaled(few, subspace.loc, scale):
        along = times_table(white, subspace.group[c], subspace.basis)
        white -= times_table(along, subspace.group[c], subspace.basis.mT)
        found.update(white.mul_(subspace.noise[c].sqrt_()), c)
    outside = Shrunk(found.total, found.count, subspace.group)
    variance = Shrunk(moments.scatter, moments.count, subspace.group)
    noise = torch.empty_like(subspace.loc)
    leverage = subspace.basis.double().square().sum(2)
    for c in torch.arange(len(noise)).split(max(1, PIECE // noise.shape[1])):
        g = subspace.group[c]
        common = subspace.common[g].double()
        ratio = (outside.of(c) + floor) / (outside.pooled[g] + floor).clamp_min(LEAST_RESIDUAL)
        share = ((common - floor) / variance.pooled[g].clamp_min(LEAST_RESIDUAL)).clamp(0, 1)
        bound = variance.of(c) * (1 - leverage[g] + leverage[g] * share)
        own = torch.minimum(bound, (common * ratio - floor).clamp_min(0))
        noise[c] = (torch.maximum(own, LEAST_NOISE * own.mean(1, keepdim=True)) + floor).to(noise)
    return noise


class Shrunk:
    """Mean squares of labels from sums ``[C, D]``, drawn to the ``pooled`` ones ``[G, D]`` of groups."""

    def __init__(self, total: Tensor, count: Tensor, group: Tensor) -> None:
        self.total, self.count, self.group = total, count, group
        groups = int(group.max()) + 1
        rows = count.new_zeros(groups).index_add_(0, group, count)
        self.pooled = total.new_zeros(groups, total.shape[1]).index_add_(0, group, total)
        self.pooled /= rows.clamp_min(1)[:, None]

    def of(self, c: Tensor) -> Tensor:
        """Those of the labels c ``[n]``, ``[n, D]``, with ``PRIOR_ROWS`` examples of their group's."""
        added = PRIOR_ROWS * self.pooled[self.group[c]]
        return (self.total[c] + added) / (self.count[c] + PRIOR_ROWS)[:, None]


def _axes(data: CheckedBatches, subspace: Subspace) -> tuple[Tensor, Tensor]:
    """U ``[C, r, r]`` and λ ``[C, r]``, falling, of each label: see the module."""
    conditions, rank = subspace.spread.shape
    found = CoordinateScatter.over(_coordinates(data, subspace), conditions, rank)
    rotation = subspace.loc.new_empty(conditions, rank, rank)
    spread = subspace.loc.new_empty(conditions, rank)
    chunks = torch.arange(conditions).split(max(1, PIECE // subspace.basis[0].numel()))
    for c in chunks:
        rotation[c] = _inverse_root(_grams(subspace, c)).to(rotation)
        root = rotation[c].double()
        found.scatter[c] = root @ found.scatter[c] @ root
    target = Target(found, subspace.group)
    for c in chunks:
        values, vectors = torch.linalg.eigh(target.draw(found, c))
        turned, fallen = canonical_basis(vectors.flip(2), values.flip(1).clamp_min(1))
        rotation[c], spread[c] = rotation[c] @ turned.to(rotation), fallen.to(spread)
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
    """The pooled covariances of groups of labels, ``[G, r, r]``, which their labels are drawn to."""

    def __init__(self, found: CoordinateScatter, group: Tensor) -> None:
        shape = (int(group.max()) + 1, *found.scatter.shape[1:])
        count = found.count.new_zeros(shape[0]).index_add_(0, group, found.count)
        total = found.scatter.new_zeros(shape).index_add_(0, group, found.scatter)
        counted = (count > 0)[:, None, None]
        self.group = group
        self.covariance = torch.where(counted, total / count.clamp_min(1)[:, None, None], found.pooled())
        values, vectors = torch.linalg.eigh(self.covariance)
        self.whitener = vectors * values.clamp_min(values[:, -1:] * LEAST_RESIDUAL).rsqrt()[:, None]

    def draw(self, found: CoordinateScatter, c: Tensor) -> Tensor:
        """(1 − w) S_c + w S ``[n, r, r]`` of the labels c ``[n]``, with the module's weights w."""
        count, group, rank = found.count[c], self.group[c], found.scatter.shape[1]
        own, pooled = found.scatter[c] / count.clamp_min(1)[:, None, None], self.covariance[group]
        off = self.whitener[group].mT @ own @ self.whitener[group]
        off.diagonal(dim1=1, dim2=2).sub_(1)
        away = count * off.square().sum((1, 2))
        weight = ((rank * rank + rank) / away.clamp_min(LEAST_RESIDUAL)).clamp_max(1)
        return torch.lerp(own, pooled, weight[:, None, None])


def _with_null(subspace: Subspace, rotation: Tensor, spread: Tensor, null: dict[str, Tensor]) -> Subspace:
    """The tables with the row of the null condition, whose basis is the last one."""
    tables = {"loc": subspace.loc, "noise": subspace.noise, "basis": subspace.basis, "spread": spread}
    tables = {name: torch.cat([table, null[name].to(table)]) for name, table in tables.items()}
    tables["common"] = torch.cat([subspace.common, null["noise"].to(subspace.common)])
    tables["group"] = torch.cat([subspace.group, torch.tensor([len(subspace.basis)])])
    tables["rotation"] = torch.cat([rotation, torch.eye(rotation.shape[1]).to(rotation)[None]])
    return Subspace.of(subspace.loc, **tables)
