"""A mean for the prior ``around``, whatever the condition: the tests of all priors give it one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from flowprior.priors import Prior


def prior_of(name: str, event: Sequence[int], **options: Any) -> Prior:
    """Create a prior for events of this shape."""
    prior = Prior.create(name, **options)
    give_mean(prior, event)
    return prior


def give_mean(prior: Prior, event: Sequence[int]) -> None:
    """Give ``around`` the mean for events of another shape; nothing to other priors."""
    if prior.name == "around":
        prior.regression, prior.has_regression = partial(mean_of, event), torch.tensor(True)


def mean_of(event: Sequence[int], cond: Tensor) -> Tensor:
    """The sum of each condition's numbers in all numbers of an event, ``[B, *event]``."""
    sums = cond.float() if cond.dim() == 1 else cond.float().flatten(1).sum(1)
    return sums.view(-1, *[1] * len(event)).expand(-1, *event)
