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


def sample_rows(batches: Iterable[Batch], size: int, seed: int = SEED) -> tuple[Tensor, Tensor]:
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
        for i in (key[free:] < keys.max()).nonzero()[:, 0].add(free).tolist():
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
