"""The stream of training pairs, addressed by step.

The data order is one endless sequence of indices: a fresh permutation for each epoch. Step s takes the
indices s·B … (s + 1)·B − 1, whatever the prior and coupling are, and micro-batch k of n the k-th part of
these. A coupling that draws several batches at once (``Coupling.draw_size``) is handed consecutive
(micro-)batches of that same sequence. Where events have several conditions, such as five captions, each visit
draws one, by a number of (seed, epoch, event).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from flowprior.conditions import Conditions, joined, moved, pinned
from flowprior.conditions import rows as rows_of
from flowprior.couplings import Coupling
from flowprior.data.base import Data
from flowprior.errors import InputError, OptionError
from flowprior.priors import Prior
from flowprior.training.randomness import Randomness

Pairs = tuple[Tensor, Tensor, Conditions | None]
"""(x0 ``[B, *event]``, x1 ``[B, *event]``, condition or None)."""


class Batches(Protocol):
    """What the loop takes its pairs from.

    Attributes:
        seconds_waited: that :meth:`micro_batch` took so far.
    """

    seconds_waited: float

    def micro_batch(self, step: int, part: int = 0) -> Pairs:
        """The pairs of one part of ``step``, the same ones whenever they are asked for."""
        ...


class IndexStream:
    """The endless sequence of data indices, epoch after epoch, each a random order.

    Args:
        examples: size of the data set.
        seed: the run's seed; epoch e is shuffled by (seed, e).
    """

    def __init__(self, examples: int, seed: int) -> None:
        if examples < 1:
            raise InputError("training: expected at least one example, got an empty data set")
        self.examples = examples
        self._randomness = Randomness(seed)
        self._epochs: OrderedDict[int, Tensor] = OrderedDict()
        self._chances: OrderedDict[int, Tensor] = OrderedDict()

    def take(self, start: int, count: int) -> Tensor:
        """Indices ``[count]`` (int64) at positions ``start`` … ``start + count - 1``."""
        return torch.cat([self._epoch(epoch)[rows] for epoch, rows in self._spans(start, count)])

    def chances(self, start: int, count: int) -> Tensor:
        """Uniform numbers in [0, 1) ``[count]`` at the same positions, for what a visit of an event draws."""
        return torch.cat([self._chance(epoch)[rows] for epoch, rows in self._spans(start, count)])

    def _spans(self, start: int, count: int) -> Iterator[tuple[int, slice]]:
        """The epochs that positions lie in, and where in each."""
        stop = start + count
        while start < stop:
            epoch, offset = divmod(start, self.examples)
            end = min(offset + stop - start, self.examples)
            yield epoch, slice(offset, end)
            start += end - offset

    def _epoch(self, epoch: int) -> Tensor:
        if epoch not in self._epochs:
            generator = self._randomness.generator("epoch", epoch)
            _keep(self._epochs, epoch, torch.randperm(self.examples, generator=generator))
        return self._epochs[epoch]

    def _chance(self, epoch: int) -> Tensor:
        if epoch not in self._chances:
            generator = self._randomness.generator("condition of a visit", epoch)
            _keep(self._chances, epoch, torch.rand(self.examples, generator=generator))
        return self._chances[epoch]


def _keep(epochs: OrderedDict[int, Tensor], epoch: int, values: Tensor) -> None:
    """Keep the values of an epoch, and those of the one before."""
    epochs[epoch] = values
    if len(epochs) > 2:
        epochs.popitem(last=False)


class PairStream:
    """Batches of coupled pairs, one for each step, in one or more micro-batches of equal size.

    Source samples are drawn, and paired, within a micro-batch, or with ``whole`` over the batch: they depend
    on how many micro-batches there are, or not even on that, but never on which process takes which of them.

    Args:
        data: the training set.
        prior: fitted, on the device of ``randomness``.
        coupling: draws the source samples, for ``coupling.draw_size(paired)`` data at once.
        batch_size: pairs a step.
        randomness: generators on the device where pairs are wanted.
        micro_batches: parts of a batch.
        whole: whether source samples are drawn for all parts of a batch together, as with one part; else for
            each by itself.

    Attributes:
        seconds_waited: that :meth:`micro_batch` took so far.
        size: pairs of a micro-batch.
        paired: pairs that are drawn together at the least, a micro-batch's or a batch's.
        draw_size: pairs that the coupling draws at once.

    Raises:
        OptionError: the batch size is no multiple of ``micro_batches``, or the coupling's draw size none of
            ``paired``.
    """

    def __init__(
        self,
        data: Data,
        prior: Prior,
        coupling: Coupling,
        batch_size: int,
        randomness: Randomness,
        micro_batches: int = 1,
        *,
        whole: bool = False,
    ) -> None:
        self.data, self.prior, self.coupling = data, prior, coupling
        self.batch_size, self.randomness, self.micro_batches = batch_size, randomness, micro_batches
        if batch_size % micro_batches:
            raise OptionError(
                f"training: batch_size={batch_size} cannot be divided into {micro_batches} micro-batches of "
                "equal size; take a multiple"
            )
        self.whole, self.size = whole, batch_size // micro_batches
        self.paired = batch_size if whole else self.size
        self.draw_size = coupling.draw_size(self.paired)
        if self.draw_size < self.paired or self.draw_size % self.paired:
            kind = "batch_size" if self.paired == batch_size else "a micro-batch's size"
            raise OptionError(
                f"training: the coupling draws {self.draw_size} pairs at once, expected a multiple of "
                f"{kind}={self.paired}; change one of them"
            )
        self._indices = IndexStream(len(data), randomness.seed)
        self._drawn: dict[int, tuple[int, Pairs]] = {}
        self.seconds_waited = 0.0

    def batch(self, step: int) -> Pairs:
        """The pairs of ``step``, all of its micro-batches together."""
        parts = [self.micro_batch(step, part) for part in range(self.micro_batches)]
        if len(parts) == 1:
            return parts[0]
        x0, x1, conditions = zip(*parts, strict=True)
        return torch.cat(x0), torch.cat(x1), joined(conditions)

    def micro_batch(self, step: int, part: int = 0) -> Pairs:
        """The pairs of one part of ``step``: a slice of the superbatch that it lies in."""
        number, offset = divmod(step * self.paired, self.draw_size)
        together = 0 if self.whole else part
        drawn = self._drawn.get(together)
        if drawn is None or drawn[0] != number:
            begun = time.perf_counter()
            if self.draw_size == self.paired:
                self._drawn.clear()  # nothing of another part is asked for again
            drawn = self._drawn[together] = (number, self._draw(number, together))
            self.seconds_waited += time.perf_counter() - begun
        first = offset + (part * self.size if self.whole else 0)
        rows = slice(first, first + self.size)
        x0, x1, cond = drawn[1]
        return x0[rows], x1[rows], rows_of(cond, rows)

    def _draw(self, number: int, part: int) -> Pairs:
        places = self._places(number, part)
        indices = torch.cat([self._indices.take(start, count) for start, count in places])
        several = self.data.condition_counts is not None
        chance = torch.cat([self._indices.chances(*place) for place in places]) if several else None
        x1, cond = fetch(self.data, indices, self.randomness.device, chance)
        purpose = "coupling" if part == 0 else f"coupling of micro-batch {part}"
        generator = self.randomness.generator(purpose, number)
        with torch.no_grad():
            x0, x1 = self.coupling.pairs(self.prior, x1, cond, generator=generator)
        return x0, x1, cond

    def _places(self, number: int, part: int) -> list[tuple[int, int]]:
        """(first position, count) of the pieces of the data order that a superbatch of a part takes."""
        if self.paired == self.batch_size:
            return [(number * self.draw_size, self.draw_size)]
        steps = self.draw_size // self.size
        first = number * steps
        return [
            (step * self.batch_size + part * self.size, self.size) for step in range(first, first + steps)
        ]


def fetch(
    data: Data, indices: Tensor, device: torch.device, chance: Tensor | None = None
) -> tuple[Tensor, Conditions | None]:
    """(x1, condition or None) of ``indices`` on ``device``; with ``chance`` ``[B]`` as training gets them."""
    x1, cond = data.batch(indices)
    if chance is not None:
        cond = data.training_condition(indices, cond, chance)
    if device.type == "cuda":  # from pageable memory the host would wait for the copy
        x1, cond = pinned(x1), None if cond is None else pinned(cond)
    return x1.to(device, non_blocking=True), moved(cond, device, non_blocking=True)


def probe_indices(examples: int, count: int, seed: int) -> Tensor:
    """Up to ``count`` distinct indices, the same ones for one seed, for measurements and pictures."""
    generator = Randomness(seed).generator("probe")
    return torch.randperm(examples, generator=generator)[:count]
