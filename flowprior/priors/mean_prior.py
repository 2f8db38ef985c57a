"""MeanPrior: a mean that follows the condition, residuals around it, less trust far from the fit."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.priors.base import Prior
from flowprior.priors.far import Around, FarConditions, Part
from flowprior.priors.frame import DiagonalFrame, Frame
from flowprior.priors.seen_conditions import SeenConditions


class MeanPrior(Prior, abc.ABC):
    """Base class of priors x0 = m(c) + residual.

    Subclasses set ``residuals``, one of :mod:`flowprior.priors.residuals` or
    :mod:`flowprior.priors.lowrank_residuals`, and give :meth:`_deviation`.

    Args:
        seen: what the prior keeps of the conditions.
    """

    residuals: Any
    has_spread: bool = True

    def __init__(self, seen: SeenConditions) -> None:
        super().__init__(seen)
        self.center = nn.Buffer(torch.empty(0))  # mean of all x1, [D]
        self.distance = FarConditions()

    @abc.abstractmethod
    def _deviation(self, cond: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return m(c) − center ``[B, D]``, and the distance of each condition to those of the fit ``[B]``.

        The distance is None where it is not known, or has no meaning.
        """

    def _around(self, cond: Tensor | None) -> Around:
        """Return what rows are drawn around under ``cond``."""
        assert cond is not None
        own = self._own(cond)
        deviation, distance = self._deviation(own)
        return self.distance.around(self.center, deviation, own, distance)

    def _own(self, cond: Tensor) -> Tensor:
        """Return ``cond`` on the device of the means, embeddings in their dtype."""
        return cond.to(self.center) if cond.is_floating_point() else cond.to(self.center.device)

    def _learn_distances(self, parts: Sequence[Part], *, is_known: bool) -> None:
        """Learn how the mean shrinks and the spread grows away from the conditions of the fit.

        Args:
            parts: rows that the mean was not fitted with.
            is_known: whether they tell the spread close by, too, which is corrected then.
        """
        near = None if is_known else 1.0
        self.residuals.scale(self.distance.fit(parts, self.center, self.residuals.noise, near=near))

    @torch.no_grad()
    def spread(self, cond: Tensor | None, n: int) -> Frame | DiagonalFrame:
        assert cond is not None
        null, known = self.seen.without_null(cond.to(self.center.device))
        return self.residuals.frame(self._around(known), null, self.center)

    @torch.no_grad()
    def _mean(self, cond: Tensor | None, n: int) -> Tensor:
        return self._around(cond).loc

    @torch.no_grad()
    def _sample(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> Tensor:
        return self.residuals.sample(self._around(cond), generator)

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        around = self._around(cond)
        return self.residuals.log_prob(x.to(torch.promote_types(x.dtype, around.loc.dtype)), around)
