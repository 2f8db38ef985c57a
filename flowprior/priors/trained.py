"""TrainedPrior: a prior of which a part is trained with the flow, by the flow-matching loss itself.

Source samples are drawn from what is fitted before (:attr:`TrainedPrior.fixed`), and moved by what is trained
(:meth:`TrainedPrior.moved`). So a training may draw its pairs ahead, in another thread or many at once, and
move them in the step that they are for, where gradients go through x_t and through u_t alike.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.conditions import Conditions, as_value
from flowprior.priors.asked import count_of
from flowprior.priors.base import Prior


class TrainedPrior(Prior, abc.ABC):
    """Base class of priors with weights that are trained with the flow, beside what :meth:`fit` learns.

    Subclasses implement :attr:`fixed`, :meth:`moved`, :meth:`measures` and :meth:`_rsample` beside what every
    prior does, and :meth:`loss` where the flow-matching loss alone would make the source collapse.
    """

    trained: nn.Module | None
    """Holds the weights that are trained with the flow, and nothing else; None before :meth:`fit`."""
    rate: float = 1.0
    """Their learning rate, as a multiple of the network's."""

    @property
    @abc.abstractmethod
    def fixed(self) -> Prior:
        """What source samples are drawn from, before they are moved."""

    @property
    def trains_mean(self) -> bool:
        """Whether the mean of a condition is trained; predictions that take moments off do not let it be."""
        return True

    @abc.abstractmethod
    def moved(self, x0: Tensor, cond: Conditions | Mapping[str, Any] | None = None) -> Tensor:
        """Source samples ``[B, *event]`` of this prior, made of those x0 of :attr:`fixed`.

        Differentiable in :attr:`trained`.

        Args:
            x0: ``[B, *event]``, drawn under ``cond``.
            cond: of each row, as of :meth:`sample`; it is not checked.
        """

    def rsample(
        self,
        cond: Conditions | Mapping[str, Any] | None = None,
        n: int | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The draw x0 ``[B, *event]`` of :meth:`sample`, differentiable in :attr:`trained`."""
        self._require_fitted("rsample")
        given: Conditions | None = as_value(cond)
        n = count_of(self.name, given, n)
        read = self._without_null(self._checked(given, "rsample"), generator)
        return self._rsample(read, n, generator).reshape(n, *self.event_shape)

    @abc.abstractmethod
    def measures(self) -> dict[str, float]:
        """Values that say where the training stands, by name, for a log."""

    @abc.abstractmethod
    def _rsample(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> Tensor:
        """Rows ``[n, D]``, differentiable in :attr:`trained`."""


def fixed_part(prior: Prior) -> Prior:
    """What pairs of a training are drawn from: ``prior`` itself, or what of it is fixed."""
    return prior.fixed if isinstance(prior, TrainedPrior) else prior
