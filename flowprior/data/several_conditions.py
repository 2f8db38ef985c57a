"""Events with several conditions, such as a picture with five captions, as one event for each condition."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.data.base import Data


def every_condition(data: Data) -> Data:
    """``data`` itself; where its events have several conditions, one event for each of them.

    A prior is fitted to it, so that it knows all the conditions that training draws from.
    """
    return data if data.condition_counts is None else EveryCondition(data, data.condition_counts)


class EveryCondition(Data):
    """Each event of ``data`` as often as it has conditions, one after the other.

    Args:
        data: the whole.
        counts: int64 ``[N]``, how many conditions each of its events has.
    """

    def __init__(self, data: Data, counts: Tensor) -> None:
        self.data = data
        self.name = data.name
        self.condition = data.condition
        self.event_shape = data.event_shape
        self.is_image = data.is_image
        self.class_names = data.class_names
        self.label_names = data.label_names
        self.text_encoder = data.text_encoder
        self.text_encoder_identity = data.text_encoder_identity
        self._events = torch.arange(len(counts)).repeat_interleave(counts)
        self.groups = None if data.groups is None else data.groups[self._events]
        first = (counts.cumsum(0) - counts)[self._events]
        place = torch.arange(len(self._events)) - first
        self._chance = (place + 0.5) / counts[self._events]

    def __len__(self) -> int:
        return len(self._events)

    def batch(self, indices: Tensor) -> tuple[Tensor, Conditions | None]:
        """The events ``[B, *event]`` and the conditions that these indices stand for."""
        events = self._events[indices]
        x, cond = self.data.batch(events)
        return x, self.data.training_condition(events, cond, self._chance[indices])

    def scorer_split(self) -> Data | None:
        return self.data.scorer_split()

    def conditions(self, indices: Tensor) -> Conditions | None:
        """The conditions alone that these indices stand for."""
        events = self._events[indices]
        return self.data.training_condition(events, self.data.conditions(events), self._chance[indices])
