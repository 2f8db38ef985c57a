"""ConditionedPrior: what priors with a network of the condition share."""

from __future__ import annotations

import abc

import torch
from torch import Tensor

from flowprior.conditions import Condition, Kind
from flowprior.data.stream import CheckedBatches
from flowprior.mixtures.moments import ConditionMoments
from flowprior.ops import select_component
from flowprior.priors.base import Prior
from flowprior.priors.seen_conditions import SeenConditions, refuse_unseen

KINDS: tuple[Kind, ...] = ("none", "labels", "embeddings")
EMBEDDINGS_OF_THE_MARGINAL = 256
"""How many of the seen embeddings the marginal density averages over."""


class ConditionedPrior(Prior, abc.ABC):
    """A prior over labels, embeddings or no condition, which remembers the conditions that fit saw.

    Labels without an example are refused: a network would answer for them with noise.
    """

    condition_size: Tensor
    seen: Tensor
    seen_weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Place of the kind in KINDS, and number of classes or E.
        self.register_buffer("condition_size", torch.zeros(2, dtype=torch.long))
        self.register_buffer("seen", torch.empty(0))
        self.register_buffer("seen_weight", torch.empty(0))

    @property
    def condition(self) -> Condition:
        """Kind and size of the condition that the prior was fitted with."""
        kind, size = self.condition_size.tolist()
        return Condition(KINDS[kind], size)

    def _learn_conditions(self, data: CheckedBatches, generator: torch.Generator | None) -> Tensor:
        """One pass that remembers the conditions; the mean of all x1 ``[D]``, float64."""
        first, cond = data.peek()
        if cond is None:
            self.condition_size = torch.zeros(2, dtype=torch.long, device=self.event_dims.device)
            self.seen = self.seen_weight = torch.empty(0, device=first.device)
            return ConditionMoments.over((x, None) for x, _ in data).mean[0]
        seen = SeenConditions.over(data, generator)
        self._remember(seen.condition)
        self.seen, self.seen_weight = seen.rows.to(first.device), seen.weight.to(first)
        return seen.mean

    def _remember(self, condition: Condition) -> None:
        size = [KINDS.index(condition.kind), condition.size]
        self.condition_size = torch.tensor(size, dtype=torch.long, device=self.event_dims.device)

    def _check_cond(self, cond: Tensor | None, method: str) -> Tensor | None:
        if cond is not None and not cond.is_floating_point():
            cond = cond.long()
        cond = self.condition.check(cond, f"{self.name}.{method}")
        if cond is None:
            return None
        cond = cond.to(self.event_dims.device)
        if self.condition.kind == "labels":
            refuse_unseen(f"{self.name}.{method}", cond, self.seen)
        return cond

    def _sample_conditions(self, n: int, generator: torch.Generator | None) -> Tensor | None:
        if self.condition.kind == "none":
            return None
        uniform = torch.rand(n, generator=generator, dtype=torch.float64, device=self.seen.device)
        return self.seen[select_component(self.seen_weight.log(), uniform)]

    def _log_prob_marginal(self, x: Tensor) -> Tensor:
        """Over all labels, or over at most 256 of the embeddings kept from fit."""
        if self.condition.kind == "none":
            return self._log_prob(x, None)
        rows, weight = self.seen, self.seen_weight
        if self.condition.kind == "embeddings":
            rows, weight = rows[:EMBEDDINGS_OF_THE_MARGINAL], weight[:EMBEDDINGS_OF_THE_MARGINAL]
        log_weight = (weight / weight.sum()).log().to(x.dtype)
        densities = [
            log_weight[i] + self._log_prob(x, row.expand(len(x), *row.shape)) for i, row in enumerate(rows)
        ]
        return torch.stack(densities, 1).logsumexp(1)
