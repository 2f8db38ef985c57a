"""ConditionedPrior: what priors with a network of the condition share, and the conditions that a fit saw."""

from __future__ import annotations

import abc
from dataclasses import dataclass

import torch
from torch import Tensor

from flowprior.conditions import Condition, Kind
from flowprior.data.stream import CheckedBatches
from flowprior.errors import InputError
from flowprior.mixtures.kmeans import Reservoirs
from flowprior.mixtures.moments import ConditionMoments
from flowprior.ops import select_component
from flowprior.priors.base import POOLED, Prior

EMBEDDINGS_KEPT, NUMBERS_KEPT, LEAST_KEPT = 4096, 1 << 24, 256
"""Most embeddings that a fit remembers, most numbers in them (64 MiB), and how many it does in any case."""


def rows_kept(numbers: int) -> int:
    """How many embeddings of so many numbers are remembered."""
    return min(EMBEDDINGS_KEPT, max(LEAST_KEPT, NUMBERS_KEPT // max(1, numbers)))


def refuse_unseen(method: str, labels: Tensor, seen: Tensor) -> None:
    """Refuse ``labels`` ``[B]`` that are not among the ``seen`` ones ``[M]``.

    Raises:
        InputError: the first of them, and what to do.
    """
    unseen = ~torch.isin(labels, seen.to(labels.device))
    if bool(unseen.any()):
        raise InputError(
            f"{method}: cond has label {int(labels[unseen][0])}, which had no example when the prior was "
            "fitted; give it data, or use gmm or latent-gmm with unseen=pooled"
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
        if first.is_floating_point() and first.dim() > 1:
            return cls._embeddings(data, first.flatten(1), generator)
        if first.is_floating_point() or first.dim() != 1:
            raise InputError(
                f"{data.owner}.fit: expected labels int64 [B] or embeddings [B, E], "
                f"got {first.dtype} {list(first.shape)}"
            )
        return cls.of_labels(ConditionMoments.over(data.labelled()).across(data.group))

    @classmethod
    def of_labels(cls, moments: ConditionMoments) -> SeenConditions:
        """What the moments of labels tell."""
        rows = (moments.count > 0).nonzero()[:, 0]
        condition = Condition("labels", len(moments.count))
        return cls(condition, rows, moments.count[rows], moments.pooled().mean)

    @classmethod
    def _embeddings(
        cls, data: CheckedBatches, first: Tensor, generator: torch.Generator | None
    ) -> SeenConditions:
        kept, saw_zero = Reservoirs(1, rows_kept(first.shape[1]), first.shape[1], first.dtype), False
        moments: ConditionMoments | None = None
        for x, cond in data:
            if cond is None or cond.shape[1:] != first.shape[1:]:
                raise InputError(f"{data.owner}.fit: expected embeddings [B, {first.shape[1]}] throughout")
            if not torch.isfinite(cond).all():
                raise InputError(f"{data.owner}.fit: expected finite embeddings, got NaN or infinity")
            moments = moments or ConditionMoments(x.shape[1])
            moments.update(x, None)
            saw_zero = saw_zero or bool((cond == 0).all(1).any())
            kept.update(cond.cpu(), torch.zeros(len(x), dtype=torch.long), generator)
        assert moments is not None
        rows = kept.rows[0][kept.filled[0]]
        if saw_zero and not bool((rows == 0).all(1).any()):
            rows[0] = 0  # for it is no null condition then
        weight = torch.ones(len(rows), dtype=torch.float64)
        return cls(Condition("embeddings", first.shape[1]), rows, weight, moments.mean[0])


KINDS: tuple[Kind, ...] = ("none", "labels", "embeddings")
EMBEDDINGS_OF_THE_MARGINAL = 256
"""How many of the seen embeddings the marginal density averages over."""
AT_ONCE = 256
"""Conditions whose means are held at once."""


def condition_of(stored: Tensor) -> Condition:
    """The condition that a prior's ``condition_size`` stands for."""
    kind, size = stored.tolist()
    return Condition(KINDS[kind], size)


class ConditionedPrior(Prior, abc.ABC):
    """A prior over labels, embeddings or no condition, which remembers the conditions that fit saw.

    Labels without an example are refused: a network would answer for them with noise; or, where ``unseen`` is
    ``"pooled"``, they are the null condition, whose number follows the last label. The embedding of zeros is
    the null condition, where fit saw no such embedding. The law of the null condition is the marginal source,
    from which the source samples of dropped conditions come in training.
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
        return condition_of(self.condition_size)

    def _learn_conditions(self, data: CheckedBatches, generator: torch.Generator | None) -> Tensor:
        """One pass that remembers the conditions; the mean of all x1 ``[D]``, float64."""
        first, cond = data.peek()
        if cond is None:
            self.condition_size = torch.zeros(2, dtype=torch.long, device=self.event_dims.device)
            self.seen = self.seen_weight = torch.empty(0, device=first.device)
            return ConditionMoments.over((x, None) for x, _ in data).across(data.group).mean[0]
        seen = SeenConditions.over(data, generator)
        self._remember(seen, first)
        return seen.mean

    def _remember(self, seen: SeenConditions, like: Tensor) -> None:
        size = [KINDS.index(seen.condition.kind), seen.condition.size]
        self.condition_size = torch.tensor(size, dtype=torch.long, device=self.event_dims.device)
        self.seen, self.seen_weight = seen.rows.to(like.device), seen.weight.to(like)

    def _check_cond(self, cond: Tensor | None, method: str) -> Tensor | None:
        if cond is not None and not cond.is_floating_point():
            cond = cond.long()
        new = self._unseen_rows(cond)
        if cond is not None and new is not None:
            known = self._check_cond(cond[~new.to(cond.device)], method)
            assert known is not None
            return known.new_full((len(cond),), self.condition.size).masked_scatter(~new, known)
        cond = self.condition.check(cond, f"{self.name}.{method}")
        if cond is None:
            return None
        cond = cond.to(self.event_dims.device)
        if self.condition.kind == "labels":
            refuse_unseen(f"{self.name}.{method}", cond, self.seen)
        return cond

    def _null_of(self, cond: Tensor) -> tuple[Tensor, Tensor]:
        """Which rows are the null condition, bool ``[B]``, and ``cond`` with a seen label in their place."""
        if self.condition.kind == "labels":
            null = cond == self.condition.size
            return null, torch.where(null, self.seen[0].to(cond), cond)
        null = self._null_rows(cond)
        return torch.zeros_like(cond[:, 0], dtype=torch.bool) if null is None else null, cond

    def _unseen_rows(self, cond: Tensor | None) -> Tensor | None:
        labels = self.unseen == POOLED and self.condition.kind == "labels"
        if not labels or cond is None or cond.is_floating_point() or cond.dim() != 1:
            return None
        new = ~torch.isin(cond.to(self.seen.device), self.seen)
        return new if bool(new.any()) else None

    def _seen_in_place_of_null(self, cond: Tensor | None) -> Tensor | None:
        if cond is None or self.unseen != POOLED or self.condition.kind != "labels":
            return cond
        return self._null_of(cond)[1]

    def _null_rows(self, cond: Tensor | None) -> Tensor | None:
        if cond is not None and self.condition.kind == "labels" and self.unseen == POOLED:
            null = cond == self.condition.size
            return null if bool(null.any()) else None
        if cond is None or self.condition.kind != "embeddings":
            return None
        null = (cond == 0).all(1)
        if not bool(null.any()) or bool((self.seen == 0).all(1).any()):
            return None
        return null

    @torch.no_grad()
    def _marginal_mean(self) -> Tensor:
        """Over the labels or embeddings kept from fit, as often as each was seen."""
        if self.condition.kind == "none":
            return self._mean(None, 1)[0]
        total: Tensor | None = None
        shares = self.seen_weight / self.seen_weight.sum()
        for rows, share in zip(self.seen.split(AT_ONCE), shares.split(AT_ONCE), strict=True):
            part = share @ self._mean(rows, len(rows))
            total = part if total is None else total + part
        assert total is not None
        return total

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
