"""The embeddings that a prior keeps, the nearest of them, and the average of their events.

Distinct ones are found in one pass over a stream, each with the mean of its events, in bounded memory. Of
more than fit, those of the smallest digests stay: a sample of the distinct embeddings that does not depend on
how often or in which order they come (min-wise sampling, Broder 1997). An embedding of the final sample is
among the smallest when it comes first, so that no event of it is missed.

Under labels the mean of a condition is that of its own events. Under embeddings it is the average of Nadaraya
(1964) and Watson (1964) over the K nearest of those that are kept,

    m(c) = Σ_j n_j k(d_j) μ_j / Σ_j n_j k(d_j),   k(d) = exp(−½ (d/h)²),

with n_j events of mean μ_j under the embedding at distance d_j. K and h are those of the least error on rows
that were left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from flowprior.priors.holdout import condition_digests, conditioned
from flowprior.streams.batches import Batch

MOST = 4096
"""Distinct embeddings that are kept unless another number is asked for."""
CHUNK = 1 << 24
"""Numbers of distances, of neighbours' events or of predictions that are held at once."""
BANDWIDTHS = 10
"""Values of the bandwidth that are tried."""
NARROWEST, WIDEST = 0.125, 4.0
"""Least and most of them, as shares of the median distance to the nearest other condition."""


class DistinctEmbeddings:
    """At most ``most`` distinct embeddings, their counts and, if asked for, the means of their events.

    Args:
        most: how many stay.
        events: whether to average the events, too.

    Attributes:
        rows: embeddings ``[M, E]``, by rising digest.
        count: how often each came, float64 ``[M]``.
        sums: sums of their events, float64 ``[M, D]``, or ``[M, 0]``.
    """

    def __init__(self, most: int = MOST, *, events: bool = False) -> None:
        self.most, self.events = most, events
        self._digests = torch.empty(0, dtype=torch.long)
        self.rows = torch.empty(0)
        self.count = torch.empty(0, dtype=torch.float64)
        self.sums = torch.empty(0, dtype=torch.float64)

    @classmethod
    def over(cls, batches: Iterable[Batch], most: int = MOST, *, events: bool = False) -> DistinctEmbeddings:
        """Those of one pass over (x ``[B, D]``, embeddings ``[B, E]``)."""
        found = cls(most, events=events)
        for x, cond in conditioned(batches):
            found.update(x, cond)
        return found

    @property
    def means(self) -> Tensor:
        """Mean event of each embedding, float64 ``[M, D]``."""
        return self.sums / self.count[:, None]

    def update(self, x: Tensor, cond: Tensor) -> None:
        """Take in events x ``[B, D]`` under embeddings ``[B, E]``."""
        digests, place = condition_digests(cond).unique(return_inverse=True)
        events = x.detach().cpu().double() if self.events else torch.empty(len(x), 0, dtype=torch.float64)
        sums = events.new_zeros(len(digests), events.shape[1]).index_add_(0, place, events)
        count = torch.bincount(place, minlength=len(digests)).double()
        first = torch.empty_like(digests)
        first[place.flip(0)] = torch.arange(len(x)).flip(0)
        rows = cond.detach().cpu()[first]
        if not len(self._digests):
            self.rows, self.sums = rows[:0], sums[:0]
        known = torch.isin(digests, self._digests)
        at = torch.searchsorted(self._digests, digests[known])
        self.sums.index_add_(0, at, sums[known])
        self.count.index_add_(0, at, count[known])
        new = ~known
        if len(self._digests) == self.most:
            new &= digests < self._digests[-1]
        if bool(new.any()):
            self._insert(digests[new], rows[new], sums[new], count[new])

    def _insert(self, digests: Tensor, rows: Tensor, sums: Tensor, count: Tensor) -> None:
        """Sort new embeddings in, and leave out those of the largest digests beyond ``most``."""
        joined, order = torch.cat([self._digests, digests]).sort()
        self._digests, order = joined[: self.most], order[: self.most]
        self.rows = torch.cat([self.rows, rows])[order]
        self.sums = torch.cat([self.sums, sums])[order]
        self.count = torch.cat([self.count, count])[order]


def nearest(cond: Tensor, rows: Tensor, count: int = 1) -> tuple[Tensor, Tensor]:
    """Euclidean distances ``[B, n]``, rising, and places ``[B, n]`` of the nearest ``rows`` ``[M, E]``.

    They are found by products about the mean of ``rows``, in float64, and then measured by differences: equal
    embeddings are 0 apart, not the root of a rounding error, and are found among others close by.

    Args:
        cond: embeddings ``[B, E]``.
        rows: embeddings ``[M, E]`` to look among, M at least 1.
        count: n, cut to M.
    """
    count = min(count, len(rows))
    centre = rows.mean(0)
    about = (rows - centre).double()
    half_squares = 0.5 * about.square().sum(1)
    places = [
        (half_squares - (part - centre).double() @ about.T).topk(count, largest=False).indices
        for part in cond.split(max(1, CHUNK // len(rows)))
    ]
    place = torch.cat(places)
    step = max(1, CHUNK // (count * rows.shape[1]))
    measured = [
        (part[:, None] - rows[near]).square().sum(2).sqrt()
        for part, near in zip(cond.split(step), place.split(step), strict=True)
    ]
    distance, order = torch.cat(measured).sort(1)
    return distance, place.gather(1, order)


class Neighbours(NamedTuple):
    """Of B rows: distances, rising, places in the table, and how many events those had, ``[B, K]`` each."""

    distance: Tensor
    place: Tensor
    events: Tensor


class LeftOut(NamedTuple):
    """Rows that the mean was not fitted with: x ``[n, D]`` and what it was fitted with around them.

    Attributes:
        x: events.
        near: neighbours without the condition, or with it but without the row.
        change: what leaving the row out does to the mean of its own condition, ``[n, D]``, or None where the
            whole condition is left out.
    """

    x: Tensor
    near: Neighbours
    change: Tensor | None


def neighbours(cond: Tensor, rows: Tensor, events: Tensor, count: int) -> Neighbours:
    """The nearest of ``rows`` ``[M, E]``, at most ``count``, which had ``events`` ``[M]``, of ``[B, E]``."""
    distance, place = nearest(cond, rows, count)
    return Neighbours(distance, place, events[place])


def kernel_average(means: Tensor, near: Neighbours, bandwidth: float) -> Tensor:
    """m ``[B, D]`` of mean events ``[M, D]``, by the kernel of width h = ``bandwidth``."""
    weight = kernel_weights(near, bandwidth)
    step = max(1, CHUNK // max(1, near.place.shape[1] * means.shape[1]))
    parts = [
        (share[:, None] @ means[place])[:, 0]
        for share, place in zip(weight.split(step), near.place.split(step), strict=True)
    ]
    return torch.cat(parts)


def kernel_weights(near: Neighbours, bandwidth: float) -> Tensor:
    """Shares ``[B, K]`` of the neighbours, which sum to 1 however far away they are."""
    nearest_first = near.distance.square() - near.distance[:, :1].square()
    weight = near.events * (-0.5 * nearest_first / bandwidth**2).exp()
    return weight / weight.sum(1, keepdim=True)


def choose_kernel(
    means: Tensor,
    apart: Sequence[LeftOut],
    beside: Sequence[LeftOut],
    neighbours: int | None,
    bandwidth: float | None,
) -> tuple[int, float]:
    """Number of neighbours and bandwidth.

    The error is the mean square on rows whose condition is left out, plus that on rows that alone are left
    out, where there are some.

    Args:
        means: mean events of the representatives, ``[M, D]``.
        apart: rows whose condition is left out.
        beside: rows that are left out of their condition.
        neighbours: the number, where it is given.
        bandwidth: the bandwidth, where it is given.
    """
    most = apart[0].near.place.shape[1]
    distance = torch.cat([part.near.distance[:, :1] for part in apart]).flatten()
    typical = float(distance[distance > 0].median()) if bool((distance > 0).any()) else 1.0
    counts = [neighbours] if neighbours else sorted({1 << i for i in range(8) if 1 << i <= most} | {1})
    steps = torch.logspace(0, 1, BANDWIDTHS, base=WIDEST / NARROWEST).tolist()
    widths = [bandwidth] if bandwidth else [NARROWEST * step * typical for step in steps]
    if not most or len(counts) * len(widths) == 1:
        return counts[0], widths[-1]
    error = sum(_errors(means, group, counts, widths) for group in (apart, beside) if group)
    assert isinstance(error, Tensor)
    best = int(error.argmin())
    return counts[best // len(widths)], widths[best % len(widths)]


def _errors(means: Tensor, group: Sequence[LeftOut], counts: list[int], widths: list[float]) -> Tensor:
    """Mean square error of each pair of a count and a width, ``[counts · widths]``, float64."""
    total, rows = torch.zeros(len(counts) * len(widths), dtype=torch.float64), 0
    for part in group:
        step = max(1, CHUNK // (means.shape[1] * (part.near.place.shape[1] + len(total))))
        for i in range(0, len(part.x), step):
            piece = slice(i, i + step)
            near = Neighbours(*(column[piece] for column in part.near))
            share = torch.stack([_cut_weights(near, k, h) for k in counts for h in widths], 1)
            residual = part.x[piece, None] - share @ means[near.place]
            if part.change is not None:
                residual = residual - share[:, :, :1] * part.change[piece, None]
            total += residual.square().mean(2).sum(0, dtype=torch.float64).cpu()
            rows += len(residual)
    return total / rows


def _cut_weights(near: Neighbours, count: int, bandwidth: float) -> Tensor:
    """Shares ``[B, K]`` of the first ``count`` neighbours; 0 for the others."""
    first = Neighbours(*(column[:, :count] for column in near))
    spare = near.place.shape[1] - first.place.shape[1]
    return torch.nn.functional.pad(kernel_weights(first, bandwidth), (0, spare))
