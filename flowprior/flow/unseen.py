"""Labels that training never saw: the prior starts them from the marginal, the network takes null."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from flowprior.conditions import Conditions, Parts
from flowprior.flow.guidance import recorded_dropout
from flowprior.flow.parts import FlowParts


def unseen_as_null(flow: FlowParts, cond: Conditions, rows: Tensor, owner: str) -> Conditions:
    """``cond`` with the null label in ``rows``, with a warning that says so.

    A network's answer to a label that it was never trained on means nothing. Its answer to the null condition
    is an event of any label, if condition dropout trained it.

    Args:
        flow: whose prior does not know these labels, and starts them from the marginal source on request.
        cond: as the flow was asked for.
        rows: which of it, bool ``[B]``.
        owner: who asks, for the warning.
    """
    labels = flow.prior.reading(cond)
    assert labels is not None
    asked = ", ".join(str(label) for label in labels[rows].unique().tolist()[:5])
    never = recorded_dropout(flow.metadata) == 0
    more = ", which the network never saw either; train with --set training.condition_dropout=0.1"
    warnings.warn(
        f"{owner}: the training had no example of label {asked}; these samples are the null condition's, "
        f"any label's{more if never else ''}",
        RuntimeWarning,
        stacklevel=5,
    )
    if not isinstance(cond, Parts):
        return torch.where(rows, flow.condition.null(labels), labels)
    name = next(name for name, part in cond.items() if part is labels)
    null = flow.condition[name].null(labels)
    return Parts({**dict(cond.items()), name: torch.where(rows, null, labels)})
