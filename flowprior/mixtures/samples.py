"""Samples of the rows of a stream: uniform ones in bounded memory, the first rows, small pieces of all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import repeat

import torch
from torch import Tensor

from flowprior.mixtures.grouped import joined
from flowprior.streams.batches import Batch

SAMPLE_SIZE = 1024
"""The largest number of rows of a condition that a mixture begins from, as memory allows."""
SAMPLE_BUDGET = 1 << 25
"""The largest number of numbers in these rows of all conditions."""
SAMPLE_SEED = 20251126
PIECE = 1 << 22
"""The number of numbers in a piece of rows that is worked on at once."""
SAMPLE_BYTES = 512 << 20
"""The largest number of bytes of a sample, whose rows are the fewer the longer they are."""


class Reservoirs:
    """A uniform sample without replacement of at most ``size`` rows of every condition.

    Every row gets a random key; the rows with the smallest keys stay (Efraimidis & Spirakis 2006).

    Attributes:
        rows: ``[C, size, D]``.
        filled: whether a place holds a row, ``[C, size]``.
    """

    def __init__(self, conditions: int, size: int, dim: int, dtype: torch.dtype) -> None:
        self.keys = torch.full((conditions, size), torch.inf, dtype=torch.float64)
        self.rows = torch.zeros(conditions, size, dim, dtype=dtype)

    @classmethod
    def over(
        cls,
        batches: Iterable[Batch],
        conditions: int,
        dim: int,
        dtype: torch.dtype,
        *,
        least: int,
        generator: torch.Generator | None = None,
    ) -> Reservoirs:
        """Sample one pass over the data; at least ``least`` rows a condition, as memory allows more."""
        size = max(least, min(SAMPLE_SIZE, SAMPLE_BUDGET // (conditions * dim)))
        reservoirs = cls(conditions, size, dim, dtype)
        for x, cond in joined(batches, conditions):
            labels = torch.zeros(len(x), dtype=torch.long) if cond is None else cond.cpu()
            reservoirs.update(x.cpu(), labels, generator)
        return reservoirs

    def segments(self, active: Tensor) -> Iterator[tuple[Tensor, int]]:
        """The kept rows ``[n, D]`` of each ``active`` condition (bool ``[C]``) that has any."""
        filled = self.filled
        for label in (active & filled.any(1)).nonzero().flatten().tolist():
            yield self.rows[label][filled[label]], label

    @property
    def filled(self) -> Tensor:
        return self.keys.isfinite()

    def update(self, x: Tensor, labels: Tensor, generator: torch.Generator | None) -> None:
        """Offer rows x ``[B, D]`` with labels ``[B]``."""
        keys = torch.rand(len(x), generator=generator, dtype=torch.float64)
        highest = self.keys.amax(1)
        competing = keys < highest[labels]
        for label in labels[competing].unique().tolist():
            offered = ((labels == label) & competing).nonzero().flatten()
            candidates = torch.cat([self.keys[label], keys[offered]])
            kept = candidates.topk(self.keys.shape[1], largest=False).indices
            old = kept < self.keys.shape[1]
            rows = torch.empty_like(self.rows[label])
            rows[old] = self.rows[label][kept[old]]
            rows[~old] = x[offered[kept[~old] - self.keys.shape[1]]].to(rows)
            self.keys[label], self.rows[label] = candidates[kept], rows


def sample_rows(batches: Iterable[Batch], size: int, seed: int = SAMPLE_SEED) -> tuple[Tensor, Tensor]:
    """A uniform sample without replacement of one pass over (x ``[B, D]``, labels ``[B]`` or None).

    Every row gets a random key; the rows with the smallest keys stay (Efraimidis & Spirakis 2006).

    Args:
        batches: none of them empty.
        size: rows that are kept at the most, and never more than 512 MiB of them.
        seed: of the keys.

    Returns:
        Rows ``[n, D]``, and their labels, int64 ``[n]``; 0 where there were none.
    """
    generator, count = torch.Generator().manual_seed(seed), 0
    rows = labels = keys = torch.empty(0)
    for x, cond in batches:
        x = x.detach().cpu()
        own = torch.zeros(len(x), dtype=torch.long) if cond is None else cond.cpu()
        key = torch.rand(len(x), generator=generator).double()
        if not len(keys):  # what is never written to takes no memory of the machine
            size = min(size, max(1, SAMPLE_BYTES // (x.shape[1] * x.element_size())))
            rows, labels = x.new_empty(size, x.shape[1]), torch.zeros(size, dtype=torch.long)
            keys = torch.zeros(size, dtype=torch.float64)
        free = min(size - count, len(x))
        place = slice(count, count + free)
        rows[place], labels[place], keys[place] = x[:free], own[:free], key[:free]
        count += free
        for i in (key[free:] < keys.max()).nonzero().flatten().add(free).tolist():
            worst = int(keys.argmax())
            if key[i] < keys[worst]:
                rows[worst], labels[worst], keys[worst] = x[i], own[i], key[i]
    return rows[:count], labels[:count]


def first_rows(batches: Iterable[Batch], conditions: int, most: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The first ``most`` rows of each of the labels 0 … ``conditions`` − 1, in batches as they come.

    Args:
        batches: of x ``[B, D]`` and labels ``[B]``, or None for one common condition, 0.
        conditions: number of labels.
        most: rows of each.
    """
    taken = torch.zeros(conditions, dtype=torch.long)
    for x, cond in batches:
        labels = torch.zeros(len(x), dtype=torch.long) if cond is None else cond.cpu()
        ordered, order = labels.sort(stable=True)
        counts = torch.bincount(labels, minlength=conditions)
        rank = torch.arange(len(x)) - (counts.cumsum(0) - counts)[ordered]
        chosen = order[rank + taken[ordered] < most].sort().values
        taken += counts
        if len(chosen):
            yield (x, labels) if len(chosen) == len(x) else (x[chosen], labels[chosen])


def in_pieces(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The same rows, at most ``PIECE`` numbers at a time, so that what is computed of them stays small."""
    for x, cond in batches:
        size = max(1, PIECE // x.shape[1])
        parts = repeat(None) if cond is None else cond.split(size)
        yield from zip(x.split(size), parts, strict=False)


def thinned(rows: Callable[[], Iterable[Batch]], most: int) -> Iterator[Batch]:
    """About evenly many of the rows that two passes of ``rows()`` give alike, at most ``most``."""
    count = sum(len(x) for x, _ in rows())
    step = max(1, -(-count // most))
    passed = 0
    for x, cond in rows():
        chosen = torch.arange(len(x))[-passed % step :: step]
        passed += len(x)
        if len(chosen):
            yield x[chosen.to(x.device)], None if cond is None else cond[chosen.to(cond.device)]
