"""SeenConditions: which conditions a fit saw, how often each came, and the marginal source over them.

The marginal source Σ_c p(c) p0(·|c), with p(c) as fit saw it, is where the null condition starts. It is known
from the prior's draws, means and densities under the conditions that are kept; where none is kept, it is a
Gaussian that the fit leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.conditions.condition import Kind
from flowprior.errors import InputError
from flowprior.mixtures.em import guarded_centres
from flowprior.mixtures.moments import ConditionMoments
from flowprior.mixtures.samples import Reservoirs, thinned
from flowprior.ops.mixture import LOG_2PI, select_component
from flowprior.ops.operators import normal, uniform
from flowprior.streams.batches import CheckedBatches

EMBEDDINGS, NUMBERS, LEAST = 4096, 1 << 24, 256
"""The largest number of embeddings that a fit looks at to find their centres, the largest number of numbers
in them (64 MiB), and the number of embeddings that it looks at in any case."""
CENTRES, BEHIND, FEWEST = 256, 8, 8
"""The largest number of centres that are kept, the fewest different embeddings behind each, and the fewest
centres: a Gaussian is closer to the marginal source than fewer are."""
KINDS: tuple[Kind, ...] = ("none", "labels", "embeddings")
CONDITIONS_OF_THE_MEAN, CONDITIONS_OF_THE_DENSITY = 1024, 256
"""The number of embeddings that the mean and the density of the marginal source average over."""
AT_ONCE = 256
"""The number of conditions whose means are held at once."""
POOLED_ROWS = 4096
"""The number of source samples that the pooled Gaussian is fitted to."""
NOT_READ = -1
"""The place in :data:`KINDS` before a fit, and of a prior whose fit does not look at conditions."""
RAISE, POOLED = UNSEEN = ("raise", "pooled")
"""The treatment of labels that fit did not see: they are refused, or start from the marginal source."""


def rows_looked_at(numbers: int) -> int:
    """Return the number of embeddings that a fit looks at, for this many numbers in each."""
    return min(EMBEDDINGS, max(LEAST, NUMBERS // max(1, numbers)))


_condition = cache(Condition)


class SeenConditions(nn.Module):
    """The labels that a fit saw, with their counts, or centres of the embeddings.

    Of embeddings at most ``CENTRES`` centres are kept, each the mean of ``BEHIND`` different ones or more,
    with their counts and standard deviations. The marginal source is the average over labels, or over normal
    embeddings around the centres. Of tensors, and where there would be fewer than ``FEWEST`` centres, nothing
    is kept, and the marginal source is the Gaussian with the mean and the variances of source samples of all
    conditions. No condition can be read from that.

    Labels without an example are refused; or, where ``unseen`` is ``"pooled"``, they are the null condition,
    whose number follows the last label. The embedding of zeros is the null condition, where fit saw no such
    embedding. Source samples of the null condition come from the marginal source, as those of dropped
    conditions do in training.

    Args:
        unseen: of :data:`UNSEEN`.
        keep_centres: False keeps nothing of embeddings.
    """

    def __init__(self, unseen: str = RAISE, keep_centres: bool = True) -> None:
        super().__init__()
        self.unseen = unseen
        self.keep_centres = keep_centres
        # Place of the kind in KINDS, and number of classes or E.
        self.size = nn.Buffer(torch.tensor([NOT_READ, 0]))
        # Labels [M], or centres of embeddings [M, E], and how often each came; and the standard deviations
        # [M, E] of what is behind a centre, none where embeddings are kept as they were.
        self.rows = nn.Buffer(torch.empty(0))
        self.weight = nn.Buffer(torch.empty(0))
        self.spread = nn.Buffer(torch.empty(0))
        self.saw_zero = nn.Buffer(torch.zeros((), dtype=torch.bool))
        # Mean and variances of the marginal source, [2, D], where nothing is kept of embeddings or tensors.
        self.pooled = nn.Buffer(torch.empty(0))

    @property
    def condition(self) -> Condition:
        """Kind and size of the condition that the prior was fitted with."""
        kind, size = self.size.tolist()
        return _condition(KINDS[max(kind, 0)], size)

    @property
    def has_labels(self) -> bool:
        """True if the conditions are labels."""
        return self.condition.kind == "labels"

    @property
    def keeps_none(self) -> bool:
        """True if the conditions are embeddings or tensors of which none is kept."""
        return self.condition.kind == "embeddings" and not len(self.rows)

    @property
    def is_pooled(self) -> bool:
        """True if the marginal source is the Gaussian ``pooled``."""
        return len(self.pooled) > 0

    @property
    def kept_data(self) -> str:
        """The training conditions that are kept as they were, in words; empty if there are none."""
        exact = self.condition.kind == "embeddings" and not len(self.spread) and len(self.rows)
        return f"{len(self.rows):,} training conditions" if exact else ""

    # -- fit ----------------------------------------------------------------------------------

    def learn(self, data: CheckedBatches, generator: torch.Generator | None) -> Tensor:
        """Read the conditions in one pass; return the mean of all x1 ``[D]``, float64.

        Raises:
            InputError: conditions that are neither labels ``[B]`` nor embeddings ``[B, E]`` of one width.
        """
        like, cond = data.peek()
        if cond is not None and cond.is_floating_point() and cond.dim() > 1:
            return self._learn_embeddings(data, cond, generator)
        if cond is not None and (cond.is_floating_point() or cond.dim() != 1):
            raise InputError(
                f"{data.owner}.fit: expected labels int64 [B] or embeddings [B, E], "
                f"got {cond.dtype} {list(cond.shape)}"
            )
        return self.learn_labels(ConditionMoments.over(data.labelled()), like, cond)

    def learn_labels(
        self, moments: ConditionMoments, like: Tensor, cond: Tensor | None, *, absent: bool = False
    ) -> Tensor:
        """Read labels off their moments, as :meth:`learn` does, or that ``cond`` is None.

        Args:
            moments: of each label.
            like: some rows of the data.
            cond: their labels, or None.
            absent: whether labels below the highest are served that have no example.
        """
        self._begin("none" if cond is None else "labels", 0 if cond is None else len(moments.count), like)
        if cond is not None:
            labels = torch.arange(len(moments.count)) if absent else moments.count.nonzero()[:, 0]
            self.rows, self.weight = labels.to(like.device), moments.count[labels].to(like)
        return moments.pooled().mean

    def _learn_embeddings(
        self, data: CheckedBatches, first: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        size, dtype = first[0].numel(), torch.promote_types(first.dtype, torch.float32)
        looked_at, zero = Reservoirs(1, rows_looked_at(size), size, dtype), False
        like = data.peek()[0]
        moments = ConditionMoments(like[0].numel())
        for x, cond in data:
            if cond is None or cond.shape[1:] != (size,):
                raise InputError(f"{data.owner}.fit: expected embeddings [B, {size}] throughout")
            if not torch.isfinite(cond).all():
                raise InputError(f"{data.owner}.fit: expected finite embeddings, got NaN or infinity")
            moments.update(x, None)
            zero = zero or bool((cond == 0).all(1).any())
            if first.dim() == 2:
                looked_at.update(cond.cpu(), torch.zeros(len(x), dtype=torch.long), generator)
        self._begin("embeddings", size, like)
        self.saw_zero = torch.tensor(zero, device=like.device)
        rows = looked_at.rows[0][looked_at.filled[0]]
        self.keep_embeddings(rows, torch.ones(len(rows), dtype=torch.float64), like)
        return moments.mean[0]

    def _begin(self, kind: Kind, size: int, like: Tensor) -> None:
        """Forget an earlier fit."""
        self.size = torch.tensor([KINDS.index(kind), size], device=self.size.device)
        self.saw_zero = torch.tensor(False, device=like.device)
        self.rows = self.weight = self.spread = self.pooled = torch.empty(0, device=like.device)

    def keep_embeddings(self, rows: Tensor, weight: Tensor, like: Tensor) -> None:
        """Keep centres of the embeddings ``rows`` ``[n, E]``, which came ``weight`` ``[n]`` times."""
        kept, place = rows[:0], torch.zeros(0, dtype=torch.long)
        if self.keep_centres:
            centres, nearest = guarded_centres(rows, CENTRES, BEHIND)
            if len(centres) >= FEWEST:
                kept, place = centres, nearest
        self.rows = kept.to(like.device)
        self.weight = torch.bincount(place, weight[: len(place)], len(kept)).to(like)
        self.spread = self.rows[:0]
        if len(kept):
            self.spread = ConditionMoments.over([(rows, place)]).variance().sqrt().to(self.rows)

    # -- use ----------------------------------------------------------------------------------

    def check(self, cond: Tensor | None, owner: str) -> Tensor | None:
        """Return ``cond`` where the prior is; labels that fit did not see as the null condition, if pooled.

        Raises:
            InputError: a condition of another kind than the fitted one, or a label without an example.
        """
        if int(self.size[0]) == NOT_READ:
            return cond
        if cond is not None and not cond.is_floating_point():
            cond = cond.long()
        new = self.unseen_rows(cond)
        if cond is not None and new is not None:
            known = self.check(cond[~new.to(cond.device)], owner)
            assert known is not None
            return known.new_full((len(cond),), self.condition.size).masked_scatter(~new, known)
        cond = self.condition.check(cond, owner)
        if cond is None:
            return None
        cond = cond.to(self.size.device)
        seen = torch.isin(cond, self.rows) if self.has_labels else None
        if seen is not None and not bool(seen.all()):
            raise InputError(
                f"{owner}: cond has label {int(cond[~seen][0])}, which had no example when the prior was "
                "fitted; give it data, or use gmm or latent-gmm with unseen=pooled"
            )
        return cond

    def unseen_rows(self, cond: Tensor | None) -> Tensor | None:
        """Return which rows have a label that fit did not see, bool ``[B]``; None if none, or if refused."""
        labels = self.unseen == POOLED and self.has_labels
        if not labels or cond is None or cond.is_floating_point() or cond.dim() != 1:
            return None
        new = ~torch.isin(cond.to(self.rows.device), self.rows[self.weight > 0])
        return new if bool(new.any()) else None

    def null_rows(self, cond: Tensor | None) -> Tensor | None:
        """Return which rows are the null condition, bool ``[B]``; None if none is."""
        condition = self.condition
        if cond is not None and condition.kind == "labels" and self.unseen == POOLED:
            null = cond == condition.size
        elif cond is not None and condition.kind == "embeddings" and not bool(self.saw_zero):
            null = (cond == 0).all(1)
        else:
            return None
        return null if bool(null.any()) else None

    @property
    def counts(self) -> Tensor:
        """The number of examples of each label, float64 ``[C]``; of no label ``[0]``."""
        counts = self.weight.new_zeros(self.condition.size if self.has_labels else 0, dtype=torch.float64)
        return counts.index_add_(0, self.rows, self.weight.double()) if self.has_labels else counts

    def without_null(self, cond: Tensor) -> tuple[Tensor, Tensor]:
        """Return which rows are null, bool ``[B]``, and ``cond`` with a seen label in place of null ones."""
        if self.has_labels:
            null = cond == self.condition.size
            return null, torch.where(null, self.rows[0].to(cond), cond)
        null = self.null_rows(cond)
        return torch.zeros_like(cond[:, 0], dtype=torch.bool) if null is None else null, cond

    # -- the marginal source ------------------------------------------------------------------

    def draw(self, n: int, generator: torch.Generator | None) -> Tensor | None:
        """Draw conditions ``[n, …]`` as often as fit saw them; None if there are none, or nothing is kept."""
        if not len(self.rows):
            return None
        place = select_component(self.weight.log(), uniform(n, self.rows.device, generator))
        if not len(self.spread):
            return self.rows[place]
        like = {"dtype": self.rows.dtype, "device": self.rows.device}
        noise = torch.randn(n, self.rows.shape[1], generator=generator, **like)
        return self.rows[place] + self.spread[place] * noise

    def with_null_drawn(self, cond: Tensor | None, generator: torch.Generator | None) -> Tensor | None:
        """Return ``cond`` with a condition drawn as often as fit saw it in place of each null one."""
        null = self.null_rows(cond)
        if cond is None or null is None or not len(self.rows):
            return cond
        filled, drawn = cond.clone(), self.draw(int(null.sum()), generator)
        assert drawn is not None
        filled[null] = drawn.to(cond)
        return filled

    @torch.no_grad()
    def fit_pooled(self, data: CheckedBatches, sample: Callable[..., Tensor]) -> None:
        """Fit the Gaussian of the marginal source, where no condition is kept to average over.

        Args:
            data: of the fit.
            sample: from the condition of n rows, n and a generator to source samples ``[n, D]``.
        """
        if not self.keeps_none:
            return
        first = data.peek()[0]
        most = max(1, min(POOLED_ROWS, NUMBERS // first[0].numel()))
        generator = torch.Generator().manual_seed(0)
        rows = thinned(lambda: data, most)
        moments = ConditionMoments.over((sample(cond, len(x), generator), None) for x, cond in rows)
        mean, variance = moments.mean[0], moments.variance()[0]
        least = torch.finfo(torch.float32).eps * (1 + mean.square())  # of one example there is no variance
        self.pooled = torch.stack([mean, variance.maximum(least)]).to(first)

    def sample_pooled(self, n: int, generator: torch.Generator | None) -> Tensor:
        """Draw source samples ``[n, D]`` from the Gaussian ``pooled``."""
        mean, variance = self.pooled
        return mean + variance.sqrt() * normal(n, len(mean), like=mean, generator=generator)

    def _averaged(self) -> tuple[Tensor | None, Tensor]:
        """Return the conditions that mean and density of the marginal source average over, and their weights.

        They are all labels, or embeddings that are kept as they were; else 1,024 drawn ones.
        """
        if len(self.rows) and not len(self.spread):
            return self.rows, self.weight
        generator = torch.Generator(self.size.device).manual_seed(0)
        rows = self.draw(CONDITIONS_OF_THE_MEAN, generator)
        return rows, torch.ones(CONDITIONS_OF_THE_MEAN, device=self.size.device)

    @torch.no_grad()
    def mean_of_all(self, mean: Callable[[Tensor | None, int], Tensor]) -> Tensor:
        """Return the mean of the marginal source ``[D]``, from that ``[n, D]`` of n conditions."""
        if self.is_pooled:
            return self.pooled[0]
        rows, weight = self._averaged()
        if rows is None:
            return mean(None, 1)[0]
        share = weight / weight.sum()
        means = [mean(part, len(part)) for part in rows.split(AT_ONCE)]
        return torch.stack([w.to(m) @ m for w, m in zip(share.split(AT_ONCE), means, strict=True)]).sum(0)

    def log_prob_of_all(self, x: Tensor, log_prob: Callable[[Tensor, Tensor | None], Tensor]) -> Tensor:
        """Return the log-density ``[n]`` of the marginal source, over all labels or over 256 embeddings."""
        if self.is_pooled:
            mean, variance = self.pooled.to(x.dtype)
            return -0.5 * ((x - mean).square() / variance + variance.log() + LOG_2PI).sum(1)
        rows, weight = self._averaged()
        if rows is None:
            return log_prob(x, None)
        if rows.is_floating_point():
            rows, weight = rows[:CONDITIONS_OF_THE_DENSITY], weight[:CONDITIONS_OF_THE_DENSITY]
        log_weight = (weight / weight.sum()).log().to(x.dtype)
        densities = [log_prob(x, row.expand(len(x), *row.shape)) for row in rows]
        return (torch.stack(densities, 1) + log_weight).logsumexp(1)
