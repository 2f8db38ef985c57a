"""Observation: what of an event a condition shows, so that samples can be held against their conditions."""

from __future__ import annotations

import abc

from torch import Tensor


class Observation(abc.ABC):
    """How an event is seen through its condition."""

    @abc.abstractmethod
    def of(self, x: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        """What would be observed of events x ``[B, *event]``, and what was: two tensors of one shape.

        Args:
            x: events, such as restorations.
            cond: the observations that they are restorations of, ``[B, …]``.
        """
