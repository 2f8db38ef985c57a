"""ConditionedPrior: what priors with a network of the condition share, and what they keep of conditions."""

from __future__ import annotations

import abc
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition, Kind
from flowprior.errors import InputError
from flowprior.mixtures.em import Reservoirs, guarded_centres
from flowprior.mixtures.moments import ConditionMoments
from flowprior.ops import normal, select_component
from flowprior.ops.mixture import LOG_2PI
from flowprior.priors.base import CONDITIONS_OF_THE_MEAN, POOLED, Prior
from flowprior.priors.holdout import thinned
from flowprior.streams.batches import CheckedBatches

EMBEDDINGS, NUMBERS, LEAST = 4096, 1 << 24, 256
"""Most embeddings that a fit looks at to find their centres, most numbers in them (64 MiB), and how many it
does in any case."""
CENTRES, BEHIND, FEWEST = 256, 8, 8
"""The largest number of centres that are kept, the fewest different embeddings behind each, and the fewest
centres: a Gaussian is closer to the marginal source than fewer are."""
POOLED_ROWS = 4096
"""Source samples that the pooled Gaussian is fitted to."""


def rows_looked_at(numbers: int) -> int:
    """Return the number of embeddings that a fit looks at, for this many numbers in each."""
    return min(EMBEDDINGS, max(LEAST, NUMBERS // max(1, numbers)))


@dataclass(frozen=True)
class SeenConditions:
    """What one pass over the data tells of its conditions.

    Attributes:
        condition: kind and size.
        rows: labels ``[M]`` or some of the embeddings ``[M, E]``, none where the conditions are tensors.
        weight: how often each was seen, ``[M]``, float64.
        mean: mean of all x1, ``[D]``, float64.
        zero: whether one was an embedding of zeros, which is no null condition then.
    """

    condition: Condition
    rows: Tensor
    weight: Tensor
    mean: Tensor
    zero: bool = False

    @classmethod
    def over(
        cls, data: CheckedBatches, generator: torch.Generator | None, tensors: bool = False
    ) -> SeenConditions:
        """One pass over (x ``[B, D]``, condition), which looks at ``tensors`` as at embeddings if asked to.

        Raises:
            InputError: conditions that are neither labels ``[B]`` nor embeddings ``[B, E]`` of one width.
        """
        _, first = data.peek()
        assert first is not None
        if first.is_floating_point() and first.dim() > 1:
            return cls._embeddings(data, first, generator, first.dim() == 2 or tensors)
        if first.is_floating_point() or first.dim() != 1:
            raise InputError(
                f"{data.owner}.fit: expected labels int64 [B] or embeddings [B, E], "
                f"got {first.dtype} {list(first.shape)}"
            )
        return cls.of_labels(ConditionMoments.over(data.labelled()))

    @classmethod
    def of_labels(cls, moments: ConditionMoments) -> SeenConditions:
        """What the moments of labels tell."""
        rows = (moments.count > 0).nonzero()[:, 0]
        condition = Condition("labels", len(moments.count))
        return cls(condition, rows, moments.count[rows], moments.pooled().mean)

    @classmethod
    def _embeddings(
        cls, data: CheckedBatches, first: Tensor, generator: torch.Generator | None, looks: bool
    ) -> SeenConditions:
        size, dtype = first[0].numel(), torch.promote_types(first.dtype, torch.float32)
        kept, zero = Reservoirs(1, rows_looked_at(size), size, dtype), False
        moments = ConditionMoments(data.peek()[0][0].numel())
        for x, cond in data:
            if cond is None or cond.shape[1:] != (size,):
                raise InputError(f"{data.owner}.fit: expected embeddings [B, {size}] throughout")
            if not torch.isfinite(cond).all():
                raise InputError(f"{data.owner}.fit: expected finite embeddings, got NaN or infinity")
            moments.update(x, None)
            zero = zero or bool((cond == 0).all(1).any())
            if looks:
                kept.update(cond.cpu(), torch.zeros(len(x), dtype=torch.long), generator)
        rows = kept.rows[0][kept.filled[0]]
        weight = torch.ones(len(rows), dtype=torch.float64)
        return cls(Condition("embeddings", size), rows, weight, moments.mean[0], zero)


KINDS: tuple[Kind, ...] = ("none", "labels", "embeddings")
OF_THE_MARGINAL = 256
"""The number of embeddings that the marginal density averages over."""
AT_ONCE = 256
"""Conditions whose means are held at once."""


def condition_of(stored: Tensor) -> Condition:
    """The condition that a prior's ``condition_size`` stands for."""
    kind, size = stored.tolist()
    return Condition(KINDS[kind], size)


class ConditionedPrior(Prior, abc.ABC):
    """A prior over labels, embeddings, tensors or no condition, which knows how often conditions come.

    It keeps the labels with their counts; of embeddings at most ``CENTRES`` centres, each the mean of
    ``BEHIND`` different ones or more, with their counts and standard deviations. The marginal source is the
    average over labels, or over normal embeddings around the centres. Of tensors, and where there would be
    fewer than ``FEWEST`` centres, it keeps nothing, and the marginal source is the Gaussian with the mean and
    the variances of source samples of all conditions. No condition can be read from that, unless
    :attr:`keep_conditions`.

    Labels without an example are refused: a network would answer for them with noise; or, where ``unseen`` is
    ``"pooled"``, they are the null condition, whose number follows the last label. The embedding of zeros is
    the null condition, where fit saw no such embedding. The law of the null condition is the marginal source,
    from which the source samples of dropped conditions come in training.
    """

    keep_conditions: bool = False
    """True if embeddings are kept as they were, in place of centres."""

    def __init__(self) -> None:
        super().__init__()
        # Place of the kind in KINDS, and number of classes or E.
        self.condition_size = nn.Buffer(torch.zeros(2, dtype=torch.long))
        # Labels [M], or centres of embeddings [M, E], and how often each came; and the standard deviations
        # [M, E] of what is behind a centre, none where embeddings are kept as they were.
        self.seen = nn.Buffer(torch.empty(0))
        self.seen_weight = nn.Buffer(torch.empty(0))
        self.seen_spread = nn.Buffer(torch.empty(0))
        self.saw_zero = nn.Buffer(torch.zeros((), dtype=torch.bool))
        # Mean and variances of the marginal source, [2, D], where nothing is kept of embeddings or tensors.
        self.pooled = nn.Buffer(torch.empty(0))

    @property
    def condition(self) -> Condition:
        """Kind and size of the condition that the prior was fitted with."""
        return condition_of(self.condition_size)

    def _learn_conditions(self, data: CheckedBatches, generator: torch.Generator | None) -> Tensor:
        """One pass that remembers the conditions; the mean of all x1 ``[D]``, float64."""
        first, cond = data.peek()
        if cond is None:
            self.condition_size = torch.zeros(2, dtype=torch.long, device=self.event_dims.device)
            self.seen = self.seen_weight = self.seen_spread = torch.empty(0, device=first.device)
            return ConditionMoments.over((x, None) for x, _ in data).mean[0]
        seen = SeenConditions.over(data, generator, tensors=self.keep_conditions)
        self._remember(seen, first)
        return seen.mean

    def _remember(self, seen: SeenConditions, like: Tensor) -> None:
        size = [KINDS.index(seen.condition.kind), seen.condition.size]
        self.condition_size = torch.tensor(size, dtype=torch.long, device=self.event_dims.device)
        self.saw_zero = torch.tensor(seen.zero, device=like.device)
        self.pooled = self.seen_spread = torch.empty(0, device=like.device)
        if seen.condition.kind == "labels":
            self.seen, self.seen_weight = seen.rows.to(like.device), seen.weight.to(like)
        else:
            self._keep(seen.rows, seen.weight, like)

    def _keep(self, rows: Tensor, weight: Tensor, like: Tensor) -> None:
        """Keep centres of the embeddings ``rows`` ``[n, E]``, which came ``weight`` ``[n]`` times."""
        centres, owner = rows, torch.arange(len(rows))
        if not self.keep_conditions:
            centres, owner = guarded_centres(rows, CENTRES, BEHIND)
            if len(centres) < FEWEST:
                centres, owner = rows[:0], owner[:0]
        count = torch.bincount(owner, weight[: len(owner)], len(centres))
        self.seen, self.seen_weight = centres.to(like.device), count.to(like)
        self.seen_spread = self.seen[:0]
        if len(centres) and not self.keep_conditions:
            self.seen_spread = ConditionMoments.over([(rows, owner)]).variance().sqrt().to(self.seen)

    @property
    def _weighted(self) -> tuple[Tensor, Tensor]:
        """Labels, centres or embeddings ``[M, …]``, and how often each came, ``[M]``."""
        return self.seen, self.seen_weight

    @property
    def _averaged(self) -> tuple[Tensor, Tensor]:
        """The conditions that mean and density of the marginal source average over, and their weights."""
        if not len(self.seen_spread):
            return self._weighted
        generator = torch.Generator(self.seen.device).manual_seed(0)
        rows = self._sample_conditions(CONDITIONS_OF_THE_MEAN, generator)
        assert rows is not None
        return rows, torch.ones_like(rows[:, 0])

    @property
    def _is_pooled(self) -> bool:
        """True if the marginal source is the Gaussian ``pooled``."""
        return self.condition.kind == "embeddings" and not len(self._weighted[0])

    @property
    def kept_data(self) -> str:
        exact = self.condition.kind == "embeddings" and not len(self.seen_spread)
        kept = len(self.seen) if exact else 0
        return "; ".join(filter(None, (f"{kept:,} training conditions" if kept else "", super().kept_data)))

    @torch.no_grad()
    def _fit_marginal(self, data: CheckedBatches) -> None:
        if not self._is_pooled:
            return
        most = max(1, min(POOLED_ROWS, NUMBERS // data.peek()[0][0].numel()))
        generator = torch.Generator().manual_seed(0)
        drawn = (
            (self._sample(self._check_cond(cond, "fit"), len(x), generator), None)
            for x, cond in thinned(lambda: data, most)
        )
        moments = ConditionMoments.over(drawn)
        mean, variance = moments.mean[0], moments.variance()[0]
        least = torch.finfo(torch.float32).eps * (1 + mean.square())  # of one example there is no variance
        self.pooled = torch.stack([mean, variance.maximum(least)]).to(data.peek()[0])

    def _sample_pooled(self, n: int, generator: torch.Generator | None) -> Tensor:
        mean, variance = self.pooled
        return mean + variance.sqrt() * normal(n, len(mean), like=mean, generator=generator)

    def _sample_any(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> Tensor:
        null = self._null_rows(cond) if self._is_pooled else None
        if null is None:
            return super()._sample_any(cond, n, generator)
        return torch.where(null[:, None], self._sample_pooled(n, generator), self._sample(cond, n, generator))

    def sample_marginal(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        if self.is_fitted and self._is_pooled:
            return self._sample_pooled(n, generator).reshape(n, *self.event_shape)
        return super().sample_marginal(n, generator=generator)

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
            unseen = cond[~torch.isin(cond, self.seen.to(cond.device))]
            if len(unseen):
                raise InputError(
                    f"{self.name}.{method}: cond has label {int(unseen[0])}, which had no example when the "
                    "prior was fitted; give it data, or use gmm or latent-gmm with unseen=pooled"
                )
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
        return null if bool(null.any()) and not bool(self.saw_zero) else None

    @torch.no_grad()
    def _marginal_mean(self) -> Tensor:
        """Over the labels, or over 1,024 conditions around the centres, as often as each was seen."""
        if self.condition.kind == "none":
            return self._mean(None, 1)[0]
        if self._is_pooled:
            return self.pooled[0]
        averaged, weight = self._averaged
        parts = zip(averaged.split(AT_ONCE), (weight / weight.sum()).split(AT_ONCE), strict=True)
        return torch.stack([share @ self._mean(rows, len(rows)) for rows, share in parts]).sum(0)

    def _sample_conditions(self, n: int, generator: torch.Generator | None) -> Tensor | None:
        if self.condition.kind == "none" or self._is_pooled:
            return None
        rows, weight = self._weighted
        uniform = torch.rand(n, generator=generator, dtype=torch.float64, device=rows.device)
        place = select_component(weight.log(), uniform)
        if not len(self.seen_spread):
            return rows[place]
        noise = torch.randn(n, rows.shape[1], generator=generator, dtype=rows.dtype, device=rows.device)
        return rows[place] + self.seen_spread[place] * noise

    def _log_prob_marginal(self, x: Tensor) -> Tensor:
        """Over all labels, or over 256 conditions around the centres."""
        if self.condition.kind == "none":
            return self._log_prob(x, None)
        if self._is_pooled:
            mean, variance = self.pooled.to(x.dtype)
            return -0.5 * ((x - mean).square() / variance + variance.log() + LOG_2PI).sum(1)
        rows, weight = self._averaged
        if self.condition.kind == "embeddings":
            rows, weight = rows[:OF_THE_MARGINAL], weight[:OF_THE_MARGINAL]
        log_weight = (weight / weight.sum()).log().to(x.dtype)
        densities = [
            log_weight[i] + self._log_prob(x, row.expand(len(x), *row.shape)) for i, row in enumerate(rows)
        ]
        return torch.stack(densities, 1).logsumexp(1)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Take a state of before there were centres, which holds training conditions, and warn of it."""
        seen = state_dict.get(prefix + "seen")
        if seen is not None and prefix + "seen_spread" not in state_dict:
            kept = 0 if seen.dim() < 2 else len(seen)
            state_dict[prefix + "seen_spread"] = torch.empty(0)
            zero = kept > 0 and bool((seen == 0).flatten(1).all(1).any())
            state_dict[prefix + "saw_zero"] = torch.tensor(zero, device=seen.device)
            state_dict[prefix + "pooled"] = torch.empty(0)
            if kept:
                warnings.warn(
                    f"prior '{self.name}': an older version saved it, with {kept:,} training conditions as "
                    "they were; fit it again before you give it away",
                    RuntimeWarning,
                    stacklevel=2,
                )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
