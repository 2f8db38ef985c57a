"""Bases that labels share: fitted in a few passes, without a basis a label, and mergeable over workers.

The basis Q and the pooled noise ψ are those of the maximum-likelihood low-rank Gaussian of the residuals
x − m_c within labels, found by subspace iteration on a sample of rows (randomised range finder: Halko,
Martinsson & Tropp 2011). Labels then differ in three things, each of one pass:

- their mean m_c;
- their noise: with R_c the label's mean squared residual outside the basis, in each coordinate, and R the
  pooled one, ψ_c = f + min(V_c, (ψ − f) R_c/R), V_c being the label's variance. Without that bound a
  coordinate that the basis holds almost whole (leverage near 1), where R is next to nothing, gets any noise.
- the covariance S_c of their coordinates Qᵀ ψ_c^(-1/2) (x − m_c): U_c and λ_c are its eigenvectors and
  eigenvalues, at least 1, so that h is white in the label's own axes.

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
from flowprior.priors.row_sample import RowSample, first_rows, in_pieces
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
    loc = _means(moments, settings.single)
    for x, c in zip(rows.split(1024), sample.labels.split(1024), strict=True):
        x -= loc[c].to(x)
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
    subspace.noise = _noise(data, subspace, moments, settings.reg_covar).to(like)
    rotation, spread = _axes(data, subspace)
    return _with_null(subspace, rotation, spread, null)


def _rows_each(labels: int) -> int:
    return max(ROWS_OF_NOISE, SAMPLE // labels)


def _means(moments: ConditionMoments, single: float) -> Tensor:
    """Means of the labels ``[C, D]``; one example is given ``single`` examples of the mean of all data."""
    one = (moments.count == 1)[:, None]
    pooled = moments.pooled().mean
    return torch.where(one, (moments.mean + single * pooled) / (1 + single), moments.mean)


def _start(loc: Tensor, tables: list[dict[str, Tensor]], group: Tensor, like: Tensor) -> Subspace:
    """Labels with their means and, of their group, noise and basis; not turned yet."""
    rank = tables[0]["basis"].shape[2]
    noise = torch.cat([table["noise"] for table in tables])[group]
    basis = torch.cat([table["basis"] for table in tables])
    values = {"loc": loc, "noise": noise, "basis": basis, "spread": torch.ones(len(loc), rank)}
    return Subspace.of(like, **values, group=group, rotation=torch.zeros(0, rank, rank))


def _white(data: Iterable[Batch], subspace: Subspace) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows ψ_c^(-1/2) (x − m_c) ``[n, D]`` with their labels, a few at a time."""
    for x, cond in in_pieces(data):
        assert cond is not None
        c = cond.cpu()
        yield (x.detach().cpu() - subspace.loc[c]).mul_(subspace.noise[c].rsqrt_()), c


def _coordinates(data: Iterable[Batch], subspace: Subspace) -> Iterator[Batch]:
    """Qᵀ y ``[n, r]`` with their labels."""
    for white, c in _white(data, subspace):
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
    for white, c in _white(first_rows(data, len(found.count), _rows_each(len(found.count))), subspace):
        along = times_table(white, subspace.group[c], subspace.basis)
        white -= times_table(along, subspace.group[c], subspace.basis.mT)
        found.update(white.mul_(subspace.noise[c].sqrt_()), c)
    noise = torch.empty_like(found.total)
    for g in subspace.group.unique().tolist():
        of = subspace.group == g
        outside = _shrunk(found.total[of], found.count[of])
        pooled = found.total[of].sum(0) / found.count[of].sum().clamp_min(1)
        variance = _shrunk(moments.scatter[of], moments.count[of])
        ratio = outside / pooled.clamp_min(LEAST_RESIDUAL)
        own = torch.minimum(variance, (subspace.noise[of].double() - floor).clamp_min(0) * ratio)
        noise[of] = torch.maximum(own, LEAST_NOISE * own.mean(1, keepdim=True)) + floor
    return noise


def _shrunk(total: Tensor, count: Tensor) -> Tensor:
    """Mean squares ``[C, D]`` of sums ``[C, D]``, with ``PRIOR_ROWS`` examples of the pooled ones."""
    pooled = total.sum(0) / count.sum().clamp_min(1)
    return (total + PRIOR_ROWS * pooled) / (count + PRIOR_ROWS)[:, None]


def _axes(data: CheckedBatches, subspace: Subspace) -> tuple[Tensor, Tensor]:
    """U ``[C, r, r]`` and λ ``[C, r]``, falling, of each label's covariance in the basis."""
    conditions, rank = subspace.spread.shape
    found = CoordinateScatter.over(_coordinates(data, subspace), conditions, rank)
    rotation = subspace.loc.new_empty(conditions, rank, rank)
    spread = subspace.loc.new_empty(conditions, rank)
    target = {g: Target(found, subspace.group == g) for g in subspace.group.unique().tolist()}
    for c in range(conditions):
        covariance = target[int(subspace.group[c])].draw(found.scatter[c], float(found.count[c]))
        values, vectors = torch.linalg.eigh(covariance)
        turned, fallen = canonical_basis(vectors.flip(1)[None], values.flip(0).clamp_min(1)[None])
        rotation[c], spread[c] = turned[0].to(rotation), fallen[0].to(spread)
    return rotation, spread


class Target:
    """The pooled covariance ``[r, r]`` of some labels (bool ``[C]``), which each of them is drawn to."""

    def __init__(self, found: CoordinateScatter, of: Tensor) -> None:
        count = found.count[of].sum()
        self.covariance = found.scatter[of].sum(0) / count if count > 0 else found.pooled()
        values, vectors = torch.linalg.eigh(self.covariance)
        self.whitener = vectors * values.clamp_min(values[-1] * LEAST_RESIDUAL).rsqrt()

    def draw(self, scatter: Tensor, count: float) -> Tensor:
        """(1 − w) S_c + w S ``[r, r]`` of a label's ``scatter``, with the module's weight w."""
        if not count:
            return self.covariance
        own, rank = scatter / count, len(scatter)
        off = self.whitener.T @ own @ self.whitener
        off.diagonal().sub_(1)
        weight = min(1.0, (rank * rank + rank) / (count * max(float(off.square().sum()), LEAST_RESIDUAL)))
        return torch.lerp(own, self.covariance, weight)


def _with_null(subspace: Subspace, rotation: Tensor, spread: Tensor, null: dict[str, Tensor]) -> Subspace:
    """The tables with the row of the null condition, whose basis is the last one."""
    tables = {"loc": subspace.loc, "noise": subspace.noise, "basis": subspace.basis, "spread": spread}
    tables = {name: torch.cat([table, null[name].to(table)]) for name, table in tables.items()}
    tables["group"] = torch.cat([subspace.group, torch.tensor([len(subspace.basis)])])
    tables["rotation"] = torch.cat([rotation, torch.eye(rotation.shape[1]).to(rotation)[None]])
    return Subspace.of(subspace.loc, **tables)
