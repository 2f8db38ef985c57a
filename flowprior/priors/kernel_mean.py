"""A mean without training: that of the events of the nearest conditions, by a kernel, plus noise.

The simple rival of ``learned-mean``: what a mapper has learned of embeddings it has to predict better than
their neighbours do (:mod:`flowprior.priors.nearest` has the formula). Everything that is chosen is
chosen by leaving out: a condition with all its events, to see what is known of others, and single events of
conditions that have several, to see what is known of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.errors import InputError, OptionError
from flowprior.mixtures.moments import ConditionMoments
from flowprior.ops import draw_seed
from flowprior.priors.base import Prior
from flowprior.priors.conditioned import ConditionedPrior
from flowprior.priors.far import CHOICES, Around, FarConditions, Part
from flowprior.priors.frame import DiagonalFrame
from flowprior.priors.holdout import LEAST_CONDITIONS, conditioned, thinned
from flowprior.priors.latent import LeaveOneOutPrior
from flowprior.priors.nearest import (
    MOST,
    DistinctEmbeddings,
    LeftOut,
    Neighbours,
    Representatives,
    choose_kernel,
    kernel_weights,
)
from flowprior.priors.residuals import FixedResiduals, check_sigma
from flowprior.registry import check_counts, choose
from flowprior.streams.batches import Batch, CheckedBatches

OWNER = "prior 'kernel-mean'"
MOST_NEIGHBOURS = 128
"""Of which the number is chosen."""
ROWS, NUMBERS = 2048, 1 << 21
"""Most rows, and numbers in them, that are left out to choose by."""


@Prior.register("kernel-mean")
class KernelMeanPrior(ConditionedPrior, LeaveOneOutPrior):
    """The mean of the nearest conditions' events by a kernel, plus noise: a mapper's rival, without training.

    Of labels it is the table of their means. Of embeddings **it holds training data**: at most
    ``representatives`` distinct ones of E numbers as they are, each with the mean of its D numbers, which is
    a training sample where the embedding occurs once. Files and model cards say so, and ``push_to_hub``
    refuses it unless ``allow_training_data=True``. These are 4,096 · (E + D + 1) numbers of state, 57 MB in
    float32 for E = 384 and pictures 3 × 32 × 32.

    Args:
        neighbours: representatives that are averaged over at the most; ``"auto"`` chooses among 1, 2, 4 … 128
            by the error on conditions that are left out.
        bandwidth: h, in units of the Euclidean distance; ``"auto"`` chooses it with the neighbours.
        sigma: standard deviation of the noise: a number, or ``"scalar"`` or ``"diagonal"`` to estimate it on
            rows that are left out.
        representatives: distinct embeddings that are kept at the most. Those of more are a sample that does
            not depend on their order; labels are all kept.
        far: what is said of embeddings far from those that are kept: ``"widen"`` draws the mean to that of
            all data and widens the spread with the distance, as embeddings that are left out ask for
            (:mod:`flowprior.priors.far`); ``"as-near"`` takes them as any other.
    """

    has_spread: bool = True

    def __init__(
        self,
        neighbours: int | str = "auto",
        bandwidth: float | str = "auto",
        sigma: float | str = "scalar",
        representatives: int = MOST,
        far: str = "widen",
    ) -> None:
        super().__init__()
        if neighbours != "auto":
            check_counts(OWNER, neighbours=neighbours)
        if bandwidth != "auto" and not (isinstance(bandwidth, int | float) and 0 < bandwidth < 1e12):
            raise OptionError(f"{OWNER}: expected bandwidth > 0 or 'auto', got {bandwidth!r}")
        check_sigma(OWNER, sigma)
        check_counts(OWNER, representatives=representatives)
        self.neighbours = neighbours
        self.bandwidth = bandwidth
        self.sigma = sigma
        self.representatives = representatives
        self.far = choose(OWNER, "far", far, CHOICES)
        self.center = nn.Buffer(torch.empty(0))
        self.bandwidth_chosen = nn.Buffer(torch.ones(()))
        self.neighbours_chosen = nn.Buffer(torch.ones((), dtype=torch.long))
        self.table = Representatives()
        self.widening = FarConditions()
        self.residuals = FixedResiduals(0, sigma, 0)

    # -- fit ----------------------------------------------------------------------------------

    @torch.no_grad()
    def _fit(self, data: CheckedBatches, generator: torch.Generator | None) -> None:
        first, cond = data.peek()
        if cond is None:
            raise InputError("kernel-mean.fit: expected labels or embeddings, got None; use 'gaussian'")
        self.center = self._learn_conditions(data, generator).to(first)
        self.residuals = FixedResiduals(first[0].numel(), self.sigma, 0).to(first)
        self.residuals.fit_total(data)
        self.widening = FarConditions().to(first)
        if self.condition.kind == "labels":
            moments = ConditionMoments.over(data.labelled())
            labels = moments.count.nonzero()[:, 0]
            self.table.keep(labels, moments.count[labels], moments.mean[labels], first)
            rows = conditioned(data)
            self.residuals.fit_noise(x.to(self.center) - self._mean_without(x, labels) for x, labels in rows)
            return
        found = DistinctEmbeddings.over(self._measured(data), self.representatives, events=True)
        self.table.keep(found.rows, found.count, found.means, first)
        self._fit_kernel(data)

    def _fit_kernel(self, data: CheckedBatches) -> None:
        """Choose neighbours and bandwidth, and learn the spread, near and far."""
        most = max(1, min(ROWS, NUMBERS // len(self.center)))
        rows = list(conditioned(thinned(partial(self._measured, data), most)))
        apart = [self._without_condition(x, cond) for x, cond in rows]
        beside = [part for x, cond in rows for part in self._without_row(x, cond)]
        neighbours = None if self.neighbours == "auto" else int(self.neighbours)
        bandwidth = None if self.bandwidth == "auto" else float(self.bandwidth)
        chosen = choose_kernel(self.table.means, apart, beside, neighbours, bandwidth)
        self.neighbours_chosen = torch.as_tensor(chosen[0]).to(self.neighbours_chosen)
        self.bandwidth_chosen = torch.as_tensor(chosen[1]).to(self.center)
        left = beside or apart
        self.residuals.fit_noise(part.x - self.center - self._deviation_of(part) for part in left)
        if self.far == "widen" and len(self.table.conditions) >= LEAST_CONDITIONS:
            near = None if beside and isinstance(self.sigma, str) else 1.0
            parts = [  # of the condition the spread reads nothing
                Part(part.x, self._deviation_of(part), part.near.place, part.near.distance[:, 0])
                for part in [*apart, *beside]
            ]
            self.residuals.scale(self.widening.fit(parts, self.center, self.residuals.squares, near=near))

    def _keep(self, rows: Tensor, weight: Tensor, like: Tensor) -> None:
        """Keep no centres: the table has the embeddings themselves."""
        self.seen = self.seen_weight = torch.empty(0, device=like.device)

    @property
    def _weighted(self) -> tuple[Tensor, Tensor]:
        return self.table.conditions, self.table.count

    @property
    def kept_data(self) -> str:
        if self.condition.kind != "embeddings":
            return ""
        return (
            f"{len(self.table.conditions):,} training conditions, each with the mean of its data, which is a "
            "training sample where the condition occurs once"
        )

    def _measured(self, data: Iterable[Batch]) -> Iterator[tuple[Tensor, Tensor]]:
        """The same batches, in the table's dtype."""
        for x, cond in conditioned(data):
            yield x.to(self.center), self._embedded(cond)

    def _without_condition(self, x: Tensor, cond: Tensor) -> LeftOut:
        """Neighbours of each row but its own condition."""
        near = self.table.neighbours(cond, self._most_neighbours + 1)
        width = near.place.shape[1] - 1
        columns = torch.arange(width, device=x.device) + (near.distance[:, :1] == 0).long()
        return LeftOut(x, Neighbours(*(part.gather(1, columns) for part in near)), None)

    def _without_row(self, x: Tensor, cond: Tensor) -> list[LeftOut]:
        """Neighbours of the rows whose own condition has others, without the row."""
        near = self.table.neighbours(cond, 1)
        rows = ((near.distance[:, 0] == 0) & (near.events[:, 0] > 1)).nonzero()[:, 0]
        return [self._without(x[rows], cond[rows], self._most_neighbours)] if len(rows) else []

    def _without(self, x: Tensor, cond: Tensor, count: int) -> LeftOut:
        """``count`` neighbours of each row without the row; a condition of that row alone is none of them."""
        near = self.table.neighbours(cond, count + 1)
        own = near.distance[:, :1] == 0
        alone = own & (near.events[:, :1] <= 1)
        width = near.place.shape[1] - 1
        if width < count:  # of all there are; one without events takes its place
            near = Neighbours(*(torch.cat([part, part[:, -1:]], 1) for part in near))
            near.events[:, -1] = 0
            width += 1
        columns = torch.arange(width, device=x.device) + alone.long()
        distance, place, events = (part.gather(1, columns) for part in near)
        several = own & ~alone
        events[:, :1] -= several.to(events)
        change = (self.table.means[place[:, 0]] - x) / events[:, :1].clamp_min(1)
        return LeftOut(x, Neighbours(distance, place, events), several * change)

    def _mean_without(self, x: Tensor, labels: Tensor) -> Tensor:
        """Mean ``[n, D]`` of the other rows of each row's label; that of all others where there are none."""
        place = self.table.own(labels.to(self.table.conditions.device))
        others = (self.table.count[place] - 1)[:, None]
        mean, rest = self.table.means[place], (self.table.count.sum() - 1).clamp_min(1)
        without = mean + (mean - x.to(mean)) / others.clamp_min(1)
        return torch.where(others > 0, without, self.center + (self.center - x.to(mean)) / rest)

    def _deviation_of(self, part: LeftOut) -> Tensor:
        """m(c) − m̄ ``[n, D]`` where the rows are left out."""
        near = self._cut(part.near)
        if not near.place.shape[1]:
            return torch.zeros_like(part.x)
        mean = self.table.average(near, float(self.bandwidth_chosen))
        if part.change is not None:
            mean = mean + kernel_weights(near, float(self.bandwidth_chosen))[:, :1] * part.change
        return mean - self.center

    @property
    def _most_neighbours(self) -> int:
        return MOST_NEIGHBOURS if self.neighbours == "auto" else int(self.neighbours)

    # -- use ----------------------------------------------------------------------------------

    def _embedded(self, cond: Tensor) -> Tensor:
        """Embeddings in the table's dtype; equal ones are so bit by bit."""
        return cond.to(self.center) + 0.0  # −0 is 0

    def _cut(self, near: Neighbours) -> Neighbours:
        return Neighbours(*(part[:, : int(self.neighbours_chosen)] for part in near))

    @torch.no_grad()
    def _around(self, cond: Tensor | None) -> Around:
        assert cond is not None
        if self.condition.kind == "labels":
            mean = self.table.means[self.table.own(cond)]
            return self.widening.around(self.center, mean - self.center, cond, None)
        near = self.table.neighbours(self._embedded(cond), int(self.neighbours_chosen))
        mean = self.table.average(near, float(self.bandwidth_chosen))
        return self.widening.around(self.center, mean - self.center, cond, near.distance[:, 0])

    @torch.no_grad()
    def spread(self, cond: Tensor | None, n: int) -> DiagonalFrame:
        assert cond is not None
        null, known = self._null_of(cond.to(self.center.device))
        return self.residuals.frame(self._around(known), null, self.center)

    def _mean(self, cond: Tensor | None, n: int) -> Tensor:
        return self._around(cond).loc

    def _sample(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> Tensor:
        return self.residuals.sample(self._around(cond), draw_seed(generator, self.center.device))

    @torch.no_grad()
    def _sample_without(self, x1: Tensor, cond: Tensor, generator: torch.Generator | None) -> Tensor:
        if float(self.table.count.sum()) < 2:
            raise InputError(
                "kernel-mean.sample_without: expected two data or more in the conditions that are kept, got "
                "one; raise representatives, or fit to more"
            )
        if self.condition.kind == "labels":
            mean, distance = self._mean_without(x1, cond), None
        else:
            part = self._without(x1.to(self.center), self._embedded(cond), int(self.neighbours_chosen))
            mean, distance = self.center + self._deviation_of(part), part.near.distance[:, 0]
        around = self.widening.around(self.center, mean - self.center, cond, distance)
        return self.residuals.sample(around, draw_seed(generator, self.center.device))

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        around = self._around(cond)
        return self.residuals.log_prob(x.to(torch.promote_types(x.dtype, around.loc.dtype)), around)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Make the noise first, at the checkpoint's size and in its dtype."""
        for name in [name for name in state_dict if name.startswith(prefix + "spread.")]:
            state_dict[prefix + "residuals." + name.removeprefix(prefix + "spread.")] = state_dict.pop(name)
        center = state_dict.get(prefix + "center")
        if center is not None and len(center) != len(self.residuals.noise):
            self.residuals = FixedResiduals(len(center), self.sigma, 0)
            self.to(center.dtype)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
