"""Rows kept from a training: every n-th of the data's order, which should be the same in every pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from flowprior.priors.stream import Batch


def split_rows(
    data: Iterable[Batch], share: float, *, held_out: bool
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Batches of the rows to train on, or of those held out: every (1/share)-th row; none at share 0.

    Args:
        data: batches (x ``[B, D]``, condition or None).
        share: of the rows to hold out, in [0, 0.5].
        held_out: which of the two parts to give.
    """
    period = round(1 / share) if share > 0 else 0
    position = 0
    for x, cond in data:
        index = torch.arange(position, position + len(x))
        position += len(x)
        kept = (index % period == period - 1) if period > 1 else torch.zeros(len(x), dtype=torch.bool)
        rows = (kept if held_out else ~kept).nonzero()[:, 0].to(x.device)
        if len(rows):
            yield x[rows], None if cond is None else cond[rows]
