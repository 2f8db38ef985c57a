"""Conditions that a flow is asked for: finite numbers, and null in place of labels without an example.

A network's answer to NaN is NaN, and does not say where it came from. Labels that the prior was fitted to no
example of start from its marginal, and the network takes the null condition for them.
"""

from __future__ import annotations

import warnings
from typing import TypeVar

import torch
from torch import Tensor

from flowprior.conditions import Conditions, chosen, named_tensors
from flowprior.flow.guidance import recorded_dropout
from flowprior.flow.parts import FlowParts
from flowprior.priors.asked import named
from flowprior.streams.user_tensors import check_finite

GIVEN_PRIOR = "prior_was_given"
"""Key of a flow's metadata: training was given a fitted prior, whose labels need not be those of the data."""
C = TypeVar("C", Conditions, Conditions | None)


def check_finite_condition(cond: Conditions | None, owner: str) -> None:
    """Refuse NaN and infinity in a condition or any of its parts.

    The sum of all numbers tells whether there may be some; rows are looked at only then.

    Args:
        cond: a tensor, token states (``[B, T, F]``, cleared where no token is attended), parts, or None.
        owner: who asks, for the message.

    Raises:
        InputError: there are some; the message names the part, counts the rows and says which is the first.
    """
    for name, tensor in named_tensors(cond).items():
        if tensor.is_floating_point() and not bool(tensor.sum(dtype=torch.float32).isfinite()):
            check_finite(tensor, name, owner)


def unseen_as_null(flow: FlowParts, cond: C, owner: str) -> C:
    """``cond`` with the null condition in the rows of labels that the training had no example of.

    A network's answer to a label that it was never trained on means nothing. Its answer to the null condition
    is an event of any label, if condition dropout trained it. Only a prior with ``unseen=pooled`` does not
    refuse such labels. Training drops all parts of a condition together, and so it is here.

    Args:
        flow: what was asked.
        cond: as it was asked for; checked.
        owner: who asks, for the warning.
    """
    rows = None if flow.metadata.get(GIVEN_PRIOR) else flow.prior.unseen_rows(cond)
    if rows is None or cond is None:
        return cond
    _warn(flow, cond, rows, owner)
    null = flow.condition.null(cond)
    assert null is not None
    return chosen(rows, null, cond)


def _warn(flow: FlowParts, cond: Conditions, rows: Tensor, owner: str) -> None:
    labels = flow.prior.reading(cond)
    assert labels is not None
    which = named(labels[rows].unique().tolist())
    never = recorded_dropout(flow.metadata) == 0
    more = ", which the network never saw either; train with --set training.condition_dropout=0.1"
    warnings.warn(
        f"{owner}: the prior was fitted to no example of {which}; these samples are the null condition's, "
        f"any label's{more if never else ''}",
        RuntimeWarning,
        stacklevel=5,
    )
