"""The conditions that a fit saw: every label with its count, or a uniform sample of the embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowprior.conditions import Condition
from flowprior.data.stream import CheckedBatches
from flowprior.errors import InputError
from flowprior.mixtures.kmeans import Reservoirs
from flowprior.mixtures.moments import ConditionMoments

EMBEDDINGS_KEPT = 4096


def refuse_unseen(method: str, labels: Tensor, seen: Tensor) -> None:
    """Refuse ``labels`` ``[B]`` that are not among the ``seen`` ones ``[M]``.

    Raises:
        InputError: the first of them, and what to do.
    """
    unseen = ~torch.isin(labels, seen.to(labels.device))
    if bool(unseen.any()):
        raise InputError(
            f"{method}: cond has label {int(labels[unseen][0])}, which had no example when the prior was "
            "fitted; give it data, or use the prior gmm:unseen=pooled"
        )


@dataclass(frozen=True)
class SeenConditions:
    """What one pass over the data tells of its conditions.

    Attributes:
        condition: kind and size.
        rows: labels ``[M]`` or embeddings ``[M, E]``.
        weight: how often each was seen, ``[M]``, float64.
        mean: mean of all x1, ``[D]``, float64.
    """

    condition: Condition
    rows: Tensor
    weight: Tensor
    mean: Tensor

    @classmethod
    def over(cls, data: CheckedBatches, generator: torch.Generator | None) -> SeenConditions:
        """One pass over (x ``[B, D]``, condition).

        Raises:
            InputError: conditions that are neither labels ``[B]`` nor embeddings ``[B, E]`` of one width.
        """
        _, first = data.peek()
        assert first is not None
        if first.is_floating_point() and first.dim() == 2:
            return cls._embeddings(data, first, generator)
        if first.is_floating_point() or first.dim() != 1:
            raise InputError(
                f"{data.owner}.fit: expected labels int64 [B] or embeddings [B, E], "
                f"got {first.dtype} {list(first.shape)}"
            )
        moments = ConditionMoments.over(data.labelled())
        rows = (moments.count > 0).nonzero()[:, 0]
        condition = Condition("labels", len(moments.count))
        return cls(condition, rows, moments.count[rows], moments.pooled().mean)

    @classmethod
    def _embeddings(
        cls, data: CheckedBatches, first: Tensor, generator: torch.Generator | None
    ) -> SeenConditions:
        kept = Reservoirs(1, EMBEDDINGS_KEPT, first.shape[1], first.dtype)
        moments: ConditionMoments | None = None
        for x, cond in data:
            if cond is None or cond.shape[1:] != first.shape[1:]:
                raise InputError(f"{data.owner}.fit: expected embeddings [B, {first.shape[1]}] throughout")
            if not torch.isfinite(cond).all():
                raise InputError(f"{data.owner}.fit: expected finite embeddings, got NaN or infinity")
            moments = moments or ConditionMoments(x.shape[1])
            moments.update(x, None)
            kept.update(cond.cpu(), torch.zeros(len(x), dtype=torch.long), generator)
        assert moments is not None
        rows = kept.rows[0][kept.filled[0]]
        weight = torch.ones(len(rows), dtype=torch.float64)
        return cls(Condition("embeddings", first.shape[1]), rows, weight, moments.mean[0])
