"""Holdout: rows or whole conditions that are kept from a training, by what they hold, in whatever order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from flowprior.streams.batches import Batch, CheckedBatches

SEED = 20250711
DIGEST_ROWS = 1024
"""Rows whose bits are widened to integers at a time."""
MOST_DISTINCT = 0.9
"""Distinct embeddings a row from which on they count as ones that do not repeat, but by chance."""
LEAST_CONDITIONS = 10
"""Fewest held-out conditions that say anything; of fewer, rows are held out instead."""
TRAINED, HELD_OUT, BESIDE = range(3)


class Holdout:
    """The rows of a data set to train on, and those held out: a share of 1/round(1/share), none at share 0.

    Held out are the rows of the smallest digests of x1, the same ones in every pass and in every order.
    Rows that are equal stay on one side, so that none is held out whose copy is trained on.

    With ``whole_conditions``, embeddings that repeat are held out whole, by the digests of the embeddings:
    five pictures of one caption are all trained on, or none is. Where they repeat twice on average, the same
    share of the rows of the other embeddings is kept from training, too: rows :meth:`beside` those that
    are trained on.

    Data whose events come in groups (:class:`flowprior.data.Data`), such as overlapping windows of a series,
    have whole groups held out, one at least where there are two: a window of which all hours but one are
    trained on tells nothing.

    Args:
        data: read once or twice here, for 8 bytes a row, and again at each call of :meth:`rows`.
        share: of the rows to hold out, in [0, 0.5].
        whole_conditions: whether embeddings that repeat are held out whole, where that are at least
            ``LEAST_CONDITIONS``.
    """

    def __init__(self, data: CheckedBatches, share: float, *, whole_conditions: bool = False) -> None:
        self.data = data
        self._limit: int | None = None
        self._beside: int | None = None
        self.by_condition = False
        self._groups: Tensor | None = None
        if share > 0 and data.groups is not None:
            data.check_groups(sum(len(x) for x, _ in data))
            self._groups = _mixed(data.groups.cpu().long())
            distinct = self._groups.unique()
            if len(distinct) > 1:
                self._limit = _limit(distinct, min(round(1 / share), len(distinct)))
        elif share > 0:
            self._choose(round(1 / share), whole_conditions)

    def _choose(self, period: int, whole_conditions: bool) -> None:
        if whole_conditions:
            found = [condition_digests(c) for _, c in self.data if c is not None and c.is_floating_point()]
            digests = torch.cat(found) if found else torch.empty(0, dtype=torch.long)
            distinct = digests.unique()
            repeat = len(distinct) < MOST_DISTINCT * len(digests)
            self.by_condition = repeat and len(distinct) // period >= LEAST_CONDITIONS
            if self.by_condition:
                self._limit = _limit(distinct, period)
                if 2 * len(distinct) > len(digests):
                    return
        limit = _limit(torch.cat([row_digests(x) for x, _ in self.data]), period)
        if self.by_condition:
            self._beside = limit
        else:
            self._limit = limit

    @property
    def is_empty(self) -> bool:
        """True if no row is held out: at share 0, or of a few rows."""
        return self._limit is None

    def rows(self, *, held_out: bool) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Batches (x ``[B, D]``, condition or None) of one of the two parts; one pass over the data."""
        return self._part(HELD_OUT if held_out else TRAINED)

    def beside(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Rows that are not trained on, of embeddings that are; none unless those are held out whole."""
        return self._part(BESIDE)

    def residual_rows(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Rows to measure a spread under conditions like those trained on.

        They are those :meth:`beside` where there are any, else those held out, else all.
        """
        if self._beside is not None:
            return self.beside()
        return self.rows(held_out=not self.is_empty)

    def _part(self, part: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        first = 0
        for x, cond in self.data:
            rows = (self._parts(x, cond, first) == part).nonzero()[:, 0]
            first += len(x)
            if len(rows):
                yield x[rows.to(x.device)], None if cond is None else cond[rows.to(cond.device)]

    def _parts(self, x: Tensor, cond: Tensor | None, first: int) -> Tensor:
        """Return the part of each row, ``[B]`` on the CPU; x begins at the row ``first`` of all."""
        parts = torch.full((len(x),), TRAINED)
        if self._beside is not None:
            parts[row_digests(x) < self._beside] = BESIDE
        if self._limit is not None:
            parts[self._digests(x, cond, first) < self._limit] = HELD_OUT
        return parts

    def _digests(self, x: Tensor, cond: Tensor | None, first: int) -> Tensor:
        """Return digests of what decides about each row."""
        if self._groups is not None:
            return self._groups[first : first + len(x)]
        return condition_digests(cond) if self.by_condition and cond is not None else row_digests(x)


def conditioned(batches: Iterable[Batch]) -> Iterator[tuple[Tensor, Tensor]]:
    """The same batches, all of which have a condition."""
    for x, cond in batches:
        assert cond is not None
        yield x, cond


def condition_digests(cond: Tensor) -> Tensor:
    """A pseudo-random integer of each embedding's bits, int64 ``[B]`` on the CPU, for ``[B, E]``."""
    return row_digests(cond if cond.element_size() >= 4 else cond.float())


def row_digests(x: Tensor) -> Tensor:
    """A pseudo-random integer of each row's bits, int64 ``[B]`` on the CPU, for x ``[B, D]``."""
    bits = x.detach().contiguous().view(torch.int32 if x.element_size() == 4 else torch.int64)
    generator = torch.Generator().manual_seed(SEED)
    weight = torch.randint(-(1 << 62), 1 << 62, (x.shape[1],), generator=generator) * 2 + 1
    weight = weight.to(x.device)
    sums = [(part.long() * weight).sum(1) for part in bits.split(DIGEST_ROWS)]
    return _mixed(torch.cat(sums).cpu())


def _limit(digests: Tensor, period: int) -> int | None:
    """The digest below which rows are held out: at most one in ``period``; None where that is none."""
    digests = digests.sort().values
    wanted = len(digests) // period
    limit = int(digests[wanted])
    return limit if wanted and limit > int(digests[0]) else None


def _mixed(number: Tensor) -> Tensor:
    """SplitMix64's last steps (Steele, Lea & Flood 2014): each bit moves about half of the result's."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        number = (number ^ _shifted(number, shift)) * factor
    return number ^ _shifted(number, 31)


def _shifted(number: Tensor, by: int) -> Tensor:
    """Logical shift to the right of int64."""
    return (number >> by) & ((1 << (64 - by)) - 1)
