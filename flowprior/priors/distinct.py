"""Distinct embeddings of a stream, each with the mean of its events, in bounded memory and one pass.

Of more than fit, those of the smallest digests stay: a sample of the distinct embeddings that does not depend
on how often or in which order they come (min-wise sampling, Broder 1997). An embedding of the final sample is
among the smallest when it comes first, so that no event of it is missed.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from flowprior.priors.holdout import condition_digests, conditioned
from flowprior.streams.batches import Batch

MOST = 4096
"""Distinct embeddings that are kept unless another number is asked for."""


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


CHUNK = 1 << 24
"""Numbers in a table of distances that is held at once."""


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
