"""The stream of training pairs, addressed by step.

The data order is one endless sequence of indices: a fresh permutation for each epoch. Step s takes the
indices s·B … (s + 1)·B − 1, whatever the prior and coupling are. A coupling that draws several batches
at once (``Coupling.draw_size``) is handed consecutive batches of that same sequence. Where events have
several conditions, such as five captions, each visit draws one, by a number of (seed, epoch, event).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import Tensor

from flowprior.conditions import Conditions, moved
from flowprior.conditions import rows as rows_of
from flowprior.couplings import Coupling
from flowprior.data.base import Data
from flowprior.errors import InputError, OptionError
from flowprior.priors import Prior
from flowprior.training.randomness import Randomness

Pairs = tuple[Tensor, Tensor, Conditions | None]
"""(x0 ``[B, *event]``, x1 ``[B, *event]``, condition or None)."""


class IndexStream:
    """The endless sequence of data indices, epoch after epoch.

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
    """Batches of coupled pairs, one for each step.

    Args:
        data: the training set.
        prior: fitted, on the device of ``randomness``.
        coupling: draws the source samples, for ``coupling.draw_size(batch_size)`` data at once.
        batch_size: pairs a step.
        randomness: generators on the device where pairs are wanted.

    Attributes:
        seconds_waited: that :meth:`batch` took so far.

    Raises:
        OptionError: the coupling's draw size is no multiple of the batch size.
    """

    def __init__(
        self, data: Data, prior: Prior, coupling: Coupling, batch_size: int, randomness: Randomness
    ) -> None:
        self.data, self.prior, self.coupling = data, prior, coupling
        self.batch_size, self.randomness = batch_size, randomness
        self.draw_size = coupling.draw_size(batch_size)
        if self.draw_size < batch_size or self.draw_size % batch_size:
            raise OptionError(
                f"training: the coupling draws {self.draw_size} pairs at once, expected a multiple of "
                f"batch_size={batch_size}; change one of them"
            )
        self._indices = IndexStream(len(data), randomness.seed)
        self._drawn: tuple[int, Pairs] | None = None
        self.seconds_waited = 0.0

    def batch(self, step: int) -> Pairs:
        """The pairs of ``step``: a slice of the superbatch that it lies in."""
        number, offset = divmod(step * self.batch_size, self.draw_size)
        if self._drawn is None or self._drawn[0] != number:
            begun = time.perf_counter()
            self._drawn = (number, self._draw(number))
            self.seconds_waited += time.perf_counter() - begun
        rows = slice(offset, offset + self.batch_size)
        x0, x1, cond = self._drawn[1]
        return x0[rows], x1[rows], rows_of(cond, rows)

    def _draw(self, number: int) -> Pairs:
        start, size = number * self.draw_size, self.draw_size
        indices = self._indices.take(start, size)
        several = self.data.condition_counts is not None
        chance = self._indices.chances(start, size) if several else None
        x1, cond = fetch(self.data, indices, self.randomness.device, chance)
        generator = self.randomness.generator("coupling", number)
        with torch.no_grad():
            x0, x1 = self.coupling.pairs(self.prior, x1, cond, generator=generator)
        return x0, x1, cond


def fetch(
    data: Data, indices: Tensor, device: torch.device, chance: Tensor | None = None
) -> tuple[Tensor, Conditions | None]:
    """(x1, condition or None) of ``indices`` on ``device``; with ``chance`` ``[B]`` as training gets them."""
    x1, cond = data.batch(indices)
    if chance is not None:
        cond = data.training_condition(indices, cond, chance)
    return x1.to(device, non_blocking=True), moved(cond, device, non_blocking=True)


def probe_indices(examples: int, count: int, seed: int) -> Tensor:
    """Up to ``count`` distinct indices, the same ones for one seed, for measurements and pictures."""
    generator = Randomness(seed).generator("probe")
    return torch.randperm(examples, generator=generator)[:count]
