"""Which conditions to generate for: the reference's own, in its proportions."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.data.base import Data


def draw_indices(data: Data, count: int, generator: torch.Generator) -> Tensor:
    """Indices int64 ``[count]`` of ``data``, spread evenly over its labels.

    Systematic sampling: every label gets its share of the data set to within one, so a balanced data set
    gives balanced draws. Without replacement where ``count`` allows it.
    """
    total = len(data)
    shuffled = torch.randperm(total, generator=generator)
    labels = _labels(data)
    order = shuffled if labels is None else shuffled[labels[shuffled].argsort(stable=True)]
    start = torch.rand((), generator=generator, dtype=torch.float64)
    places = (
        ((torch.arange(count, dtype=torch.float64) + start) * (total / count)).long().clamp_max(total - 1)
    )
    return order[places][torch.randperm(count, generator=generator)]


def _labels(data: Data) -> Tensor | None:
    if data.condition.kind != "labels":
        return None
    return torch.cat([labels for _, labels in data.batches() if labels is not None])
