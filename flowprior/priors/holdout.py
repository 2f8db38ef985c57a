"""Rows kept from a training, chosen by what they hold, so that a loader may give them in any order."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from flowprior.data.stream import CheckedBatches

SEED = 20250711
DIGEST_ROWS = 1024
"""Rows whose bits are widened to integers at a time."""


class Holdout:
    """The rows of a data set to train on, and those held out: a share of 1/round(1/share), none at share 0.

    Held out are the rows of the smallest digests of x1, the same ones in every pass and in every order.
    Rows that are equal stay on one side, so that none is held out whose copy is trained on.

    Args:
        data: read once here, for 8 bytes a row, and again at each call of :meth:`rows`.
        share: of the rows to hold out, in [0, 0.5].
    """

    def __init__(self, data: CheckedBatches, share: float) -> None:
        self.data = data
        self._limit = _limit(data, round(1 / share)) if share > 0 else None

    @property
    def is_empty(self) -> bool:
        """Whether no row is held out: at share 0, or of a few rows."""
        return self._limit is None

    def rows(self, *, held_out: bool) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Batches (x ``[B, D]``, condition or None) of one of the two parts; one pass over the data."""
        for x, cond in self.data:
            if self._limit is None:
                kept = torch.full((len(x),), not held_out)
            else:
                kept = (row_digests(x) < self._limit) == held_out
            rows = kept.nonzero()[:, 0]
            if len(rows):
                yield x[rows.to(x.device)], None if cond is None else cond[rows.to(cond.device)]


def _limit(data: CheckedBatches, period: int) -> int | None:
    """The digest below which rows are held out: at most one in ``period``; None where that is none."""
    digests = torch.cat([row_digests(x) for x, _ in data]).sort().values
    wanted = len(digests) // period
    limit = int(digests[wanted])
    return limit if wanted and limit > int(digests[0]) else None


def row_digests(x: Tensor) -> Tensor:
    """A pseudo-random integer of each row's bits, int64 ``[B]`` on the CPU, for x ``[B, D]``."""
    bits = x.detach().contiguous().view(torch.int32 if x.element_size() == 4 else torch.int64)
    generator = torch.Generator().manual_seed(SEED)
    weight = torch.randint(-(1 << 62), 1 << 62, (x.shape[1],), generator=generator) * 2 + 1
    weight = weight.to(x.device)
    sums = [(part.long() * weight).sum(1) for part in bits.split(DIGEST_ROWS)]
    return _mixed(torch.cat(sums).cpu())


def _mixed(number: Tensor) -> Tensor:
    """SplitMix64's last steps (Steele, Lea & Flood 2014): each bit moves about half of the result's."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        number = (number ^ _shifted(number, shift)) * factor
    return number ^ _shifted(number, 31)


def _shifted(number: Tensor, by: int) -> Tensor:
    """Logical shift to the right of int64."""
    return (number >> by) & ((1 << (64 - by)) - 1)
