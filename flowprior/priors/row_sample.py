"""Rows of a stream: a uniform sample in bounded memory, the first ones of each label, small pieces of all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import repeat

import torch
from torch import Tensor

from flowprior.streams.batches import Batch

SEED = 20251126
PIECE = 1 << 22
"""Numbers in a piece of rows that is worked on at once."""
SAMPLE_BYTES = 512 << 20
"""Most that a sample holds, so that its rows are fewer the longer they are."""


class RowSample:
    """At most ``size`` rows, uniform without replacement, of all that were offered.

    Every row gets a random key; the rows with the smallest keys stay (Efraimidis & Spirakis 2006).

    Args:
        size: rows that are kept at the most, and never more than 512 MiB of them.
        seed: of the keys.
    """

    def __init__(self, size: int, seed: int = SEED) -> None:
        self.size = size
        self.generator = torch.Generator().manual_seed(seed)
        self._count = 0
        self._keys = self._labels = self._rows = torch.empty(0)

    @classmethod
    def over(cls, batches: Iterable[Batch], size: int) -> RowSample:
        """A sample of one pass over (x ``[B, D]``, labels ``[B]`` or None)."""
        sample = cls(size)
        for x, cond in batches:
            sample.update(x, cond)
        return sample

    @property
    def rows(self) -> Tensor:
        """What is kept, ``[n, D]``."""
        return self._rows[: self._count]

    @property
    def labels(self) -> Tensor:
        """Labels of the rows, int64 ``[n]``; 0 where there were none."""
        return self._labels[: self._count]

    def update(self, x: Tensor, cond: Tensor | None) -> None:
        """Offer rows x ``[B, D]`` with labels ``[B]`` or None."""
        labels = torch.zeros(len(x), dtype=torch.long) if cond is None else cond.cpu()
        self._offer(x.detach().cpu(), labels, torch.rand(len(x), generator=self.generator).double())

    def _offer(self, x: Tensor, labels: Tensor, keys: Tensor) -> None:
        if not len(x):
            return
        self._reserve(x)
        free = min(self.size - self._count, len(x))
        place = slice(self._count, self._count + free)
        self._rows[place], self._labels[place], self._keys[place] = x[:free], labels[:free], keys[:free]
        self._count += free
        if free == len(x):
            return
        highest = float(self._keys.max())
        for i in (keys[free:] < highest).nonzero()[:, 0].add(free).tolist():
            worst = int(self._keys.argmax())
            if keys[i] < self._keys[worst]:
                self._rows[worst], self._labels[worst], self._keys[worst] = x[i], labels[i], keys[i]

    def _reserve(self, like: Tensor) -> None:
        """Make room at the first rows; what is never written to takes no memory of the machine."""
        if len(self._keys):
            return
        self.size = min(self.size, max(1, SAMPLE_BYTES // (like.shape[1] * like.element_size())))
        self._rows = like.new_empty(self.size, like.shape[1])
        self._labels = torch.zeros(self.size, dtype=torch.long)
        self._keys = torch.zeros(self.size, dtype=torch.float64)


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
        size = max(1, PIECE // max(x.shape[1], 1))
        parts = repeat(None) if cond is None else cond.split(size)
        yield from zip(x.split(size), parts, strict=False)


def thinned(rows: Callable[[], Iterable[Batch]], most: int) -> Iterator[Batch]:
    """About evenly many of the rows that two passes of ``rows()`` give alike, at most ``most``."""
    count = sum(len(x) for x, _ in rows())
    step = max(1, -(-count // most))
    passed = 0
    for x, cond in rows():
        chosen = torch.arange(-passed % step, len(x), step)
        passed += len(x)
        if len(chosen):
            yield x[chosen.to(x.device)], None if cond is None else cond[chosen.to(cond.device)]
