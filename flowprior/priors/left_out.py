"""LeaveOneOutPrior: a prior that knows what it would be without one of the data it was fitted to."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Conditions, as_value
from flowprior.errors import InputError
from flowprior.priors.asked import check_finite
from flowprior.priors.base import Prior, event_rows


class LeaveOneOutPrior(Prior, abc.ABC):
    """Base class of priors p0(x0 | c) that know p0(x0 | c) without any one datum x1 of their own.

    It is the mean that is without the datum; the spread, which is of all data, may stay. The coupling
    ``leave-one-out`` draws from it. Subclasses implement :meth:`_sample_without` besides what
    every prior does.
    """

    def sample_without(
        self,
        x1: Tensor,
        cond: Conditions | Mapping[str, Any] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw x0 ``[B, *event]``, each from the prior without its datum; of null conditions as usual.

        Args:
            x1: data ``[B, *event]`` that the prior was fitted to. It does not look whether it was: others
                are taken out of a mean that they are not in.
            cond: their labels ``[B]``, embeddings ``[B, E]``, named parts, or None.
            generator: source of the randomness.

        Raises:
            NotFittedError: the prior was not fitted.
            InputError: x1 is not finite or of another event shape, or the condition is not that of the fit.
        """
        self._require_fitted("sample_without")
        given: Conditions | None = as_value(cond)
        self._check_event(x1, "sample_without", given)
        check_finite(x1, f"{self.name}.sample_without")
        read = self._checked(given, "sample_without")
        if read is None:
            raise InputError(f"{self.name}.sample_without: expected the condition of each datum, got None")
        x0 = self._sample_without(event_rows(x1), read, generator)
        null = self._null_rows(read)
        if null is not None:
            x0[null] = self._sample_any(read[null], int(null.sum()), generator)
        return x0.reshape(len(x1), *self.event_shape)

    @abc.abstractmethod
    def _sample_without(self, x1: Tensor, cond: Tensor, generator: torch.Generator | None) -> Tensor:
        """x0 ``[B, D]`` for rows x1 ``[B, D]``."""
