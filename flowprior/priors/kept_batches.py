"""Batches made from the data that every pass of a fit needs again, kept while they are small."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from flowprior.priors.stream import Batch

MOST_NUMBERS = 1 << 26
"""Kept at the most: 256 MiB in float32."""


class KeptBatches:
    """What ``make()`` gives, batch by batch: kept after the first whole pass, or made anew in every pass.

    Args:
        make: starts a pass; gives the same batches every time.
        most: numbers in all batches together, beyond which none are kept.
    """

    def __init__(self, make: Callable[[], Iterator[Batch]], most: int = MOST_NUMBERS) -> None:
        self.make, self.most = make, most
        self.kept: list[Batch] | None = None

    def __iter__(self) -> Iterator[Batch]:
        if self.kept is not None:
            yield from self.kept
            return
        batches: list[Batch] = []
        numbers = 0
        for x, cond in self.make():
            numbers += x.numel()
            if numbers <= self.most:
                batches.append((x, cond))
            else:
                batches.clear()
            yield x, cond
        if numbers <= self.most:
            self.kept = batches
