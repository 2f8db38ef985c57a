"""Labels without an example: the prior starts them from the marginal, the network takes null for them."""

from __future__ import annotations

import warnings
from typing import TypeVar

from torch import Tensor

from flowprior.conditions import Conditions, chosen
from flowprior.flow.guidance import recorded_dropout
from flowprior.flow.parts import FlowParts
from flowprior.priors.asked import named

GIVEN_PRIOR = "prior_was_given"
"""Key of a flow's metadata: training was given a fitted prior, whose labels need not be those of the data."""

C = TypeVar("C", Conditions, Conditions | None)


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
