"""Data that a coupling holds for each label, or for all rows if there are no conditions."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.conditions.values import describe_value
from flowprior.errors import CouplingError
from flowprior.mixtures.grouped import rows_of_each
from flowprior.streams.batches import CheckedBatches

WITHOUT = -1
"""The label that stands for data without conditions."""
MOST_BYTES = 4 << 30
"""The largest number of bytes of data samples that a coupling holds."""


def check_labels(cond: Conditions | None, owner: str, instead: str) -> Tensor | None:
    """Return ``cond``, which has to be labels ``[n]`` or None.

    Args:
        cond: of each row.
        owner: the coupling, for messages.
        instead: what to use for other conditions, for messages.

    Raises:
        CouplingError: another condition.
    """
    if cond is None or (isinstance(cond, Tensor) and not cond.is_floating_point() and cond.dim() == 1):
        return cond
    raise CouplingError(
        f"{owner}: expected labels or no condition, got {describe_value(cond)}; use {instead}"
    )


def labels_of(cond: Tensor | None, n: int) -> Tensor:
    """Return the labels ``[n]``; :data:`WITHOUT` for each row if ``cond`` is None."""
    return torch.full((n,), WITHOUT) if cond is None else cond


def samples_of_each(data: CheckedBatches, owner: str, instead: str) -> dict[int, Tensor]:
    """Return the data samples ``[N, D]`` of each label, in the order of the data.

    Args:
        data: with labels, or without conditions.
        owner, instead: as in :func:`check_labels`.

    Raises:
        CouplingError: more data than may be held.
    """
    found, held = {}, 0
    for x, cond in data:
        for label, rows in rows_of_each(labels_of(cond, len(x))):
            found.setdefault(label, []).append(x[rows])
            held += found[label][-1].nbytes
        if held > MOST_BYTES:
            raise CouplingError(
                f"{owner}: the data take more than {MOST_BYTES >> 30} GiB, which it would have to hold; use "
                f"{instead}"
            )
    return {label: torch.cat(parts) for label, parts in found.items()}
