"""First two moments of each condition, streamed in float64 and mergeable.

Chan, Golub & LeVeque (1979): two sets of counts, means and sums of squared deviations join exactly,
so that batches and whole data sets may be merged in any order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat

import torch
from torch import Tensor

from flowprior.streams.batches import Batch

MEMBERSHIPS = 1 << 22
"""Most numbers that say which row is of which group, for a product to sum them: 32 MiB."""
CACHED = 1 << 23
"""Most numbers of a batch that are joined at once; a longer one goes through the cache in pieces."""
PIECE = 1 << 17
"""Numbers in such a piece."""


@dataclass(frozen=True)
class Moments:
    """Moments of one set of rows: mean ``[D]``, variance ``[D]``, covariance ``[D, D]`` or None."""

    count: float
    mean: Tensor
    variance: Tensor
    covariance: Tensor | None = None


class ConditionMoments:
    """Count ``[C]``, mean ``[C, D]`` and scatter of every condition, in float64.

    Scatter is the sum of squared deviations ``[C, D]``, or of outer products ``[C, D, D]`` with
    ``full=True``. New labels extend C.
    """

    def __init__(self, dim: int, conditions: int = 0, *, full: bool = False) -> None:
        self.full = full
        self._conditions = conditions
        shapes = [(), (dim,), (dim, dim) if full else (dim,)]
        self._tables = [torch.zeros(conditions, *shape, dtype=torch.float64) for shape in shapes]

    @property
    def count(self) -> Tensor:
        return self._tables[0][: self._conditions]

    @property
    def mean(self) -> Tensor:
        return self._tables[1][: self._conditions]

    @property
    def scatter(self) -> Tensor:
        return self._tables[2][: self._conditions]

    @classmethod
    def over(cls, batches: Iterable[Batch], conditions: int = 0, *, full: bool = False) -> ConditionMoments:
        """Stream all ``batches`` (x ``[B, D]``, labels ``[B]`` or None for one common condition)."""
        moments: ConditionMoments | None = None
        for x, cond in batches:
            if moments is None:
                moments = cls(x.shape[1], conditions, full=full)
            moments.update(x, cond)
        return moments if moments is not None else cls(0, conditions, full=full)

    def update(self, x: Tensor, cond: Tensor | None) -> None:
        """Join a batch of rows x ``[B, D]`` with labels ``[B]``."""
        if not len(x):
            return
        if x.numel() > CACHED and len(x) > 1:
            rows = max(1, PIECE // x.shape[1])
            labels = repeat(None) if cond is None else cond.split(rows)
            for piece, c in zip(x.split(rows), labels, strict=False):
                self.update(piece, c)
            return
        x = x.detach().double().cpu()
        labels = torch.zeros(len(x), dtype=torch.long) if cond is None else cond.cpu()
        seen, index = labels.unique(return_inverse=True)
        count = torch.bincount(index, minlength=len(seen)).double()
        mean = _sum_by(index, x, len(seen)) / count[:, None]
        deviation = x - mean[index]
        if self.full:
            rows = [deviation[index == k] for k in range(len(seen))]
            scatter = torch.stack([row.T @ row for row in rows])
        else:
            scatter = _sum_by(index, deviation.square_(), len(seen))
        self._join(seen, count, mean, scatter)

    def merge(self, other: ConditionMoments) -> None:
        """Join the moments of other rows into these."""
        labels = torch.arange(len(other.count))[other.count > 0]
        self._join(labels, other.count[labels], other.mean[labels], other.scatter[labels])

    def pooled(self) -> Moments:
        """Moments of all rows together, of one at least, whatever their condition."""
        count = float(self.count.sum())
        share = self.count / count
        mean = share @ self.mean
        between = self.mean - mean
        if self.full:
            covariance = (self.scatter.sum(0) + (self.count[:, None] * between).T @ between) / count
            return Moments(count, mean, covariance.diagonal().clone(), covariance)
        return Moments(count, mean, self.scatter.sum(0) / count + share @ between.square_())

    def about_origin(self) -> ConditionMoments:
        """The same rows with scatter taken about 0, which then stands in the mean's place."""
        found = ConditionMoments(self.mean.shape[1], len(self.count), full=self.full)
        outer = self.mean[:, :, None] * self.mean[:, None, :] if self.full else self.mean.square()
        found.count.copy_(self.count)
        found.scatter.copy_(self.scatter + self.count.view(-1, *[1] * (outer.dim() - 1)) * outer)
        return found

    def variance(self) -> Tensor:
        """Maximum-likelihood variance ``[C, D]``; zero for conditions without examples."""
        scatter = self.scatter.diagonal(dim1=1, dim2=2) if self.full else self.scatter
        return scatter / self.count.clamp_min(1)[:, None]

    def _join(self, labels: Tensor, count: Tensor, mean: Tensor, scatter: Tensor) -> None:
        self._reserve(int(labels.max()) + 1 if len(labels) else 0)
        old = self.count[labels]
        total = old + count
        delta = mean - self.mean[labels]
        weight = old * count / total
        outer = delta[:, :, None] * delta[:, None, :] if self.full else delta.square()
        self.scatter[labels] += scatter + weight.view(-1, *[1] * (outer.dim() - 1)) * outer
        self.mean[labels] += delta * (count / total)[:, None]
        self.count[labels] = total

    def _reserve(self, conditions: int) -> None:
        """Have rows for ``conditions``; the tables grow by half at least, lest every batch moves them."""
        self._conditions = max(self._conditions, conditions)
        held = len(self._tables[0])
        if conditions > held:
            room = max(conditions, held + held // 2) - held
            self._tables = [
                torch.cat([table, table.new_zeros(room, *table.shape[1:])]) for table in self._tables
            ]


def _sum_by(index: Tensor, x: Tensor, groups: int) -> Tensor:
    """Sums ``[groups, D]`` of the rows x ``[B, D]`` that share an index; a product where groups are few."""
    if groups * 8 <= len(x) and groups * len(x) <= MEMBERSHIPS:
        return torch.nn.functional.one_hot(index, groups).to(x.dtype).T @ x
    return x.new_zeros(groups, x.shape[1]).index_add_(0, index, x)
