"""The batches (x1, condition) that ``train`` takes, in its order, for a trainer of Lightning's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.data import Data
from flowprior.errors import OptionError
from flowprior.training.batches import IndexStream, fetch


class TrainingBatches:
    """An iterable of the batches of all steps, or of one process's part of each; it begins where it is told.

    Args:
        data: the training set.
        batch_size: examples a step, of all processes together.
        count: how many batches there are in all.
        seed: of the order.
        begin: number of the first batch, asked for whenever the iteration starts.
        rank: of this process.
        size: number of processes.

    Raises:
        OptionError: the batch size is no multiple of the number of processes.
    """

    def __init__(
        self,
        data: Data,
        batch_size: int,
        count: int,
        seed: int,
        begin: Callable[[], int] = lambda: 0,
        *,
        rank: int = 0,
        size: int = 1,
    ) -> None:
        if batch_size % size:
            raise OptionError(
                f"lightning: batch_size={batch_size} cannot be divided among {size} processes; take a "
                "multiple"
            )
        self.data, self.batch_size, self.count = data, batch_size, count
        self._order, self._begin = IndexStream(len(data), seed), begin
        self._rank, self._own = rank, batch_size // size

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[Tensor, Conditions | None]]:
        several = self.data.condition_counts is not None
        for number in range(self._begin(), self.count):
            place = (number * self.batch_size + self._rank * self._own, self._own)
            chance = self._order.chances(*place) if several else None
            yield fetch(self.data, self._order.take(*place), torch.device("cpu"), chance)
