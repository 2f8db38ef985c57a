"""A mean without training: that of the events of the nearest conditions, by a kernel, plus noise.

The simple rival of ``learned-mean``: what a mapper has learned of embeddings it has to predict better than
their neighbours do (:mod:`flowprior.priors.nearest` has the formula). Everything that is chosen is
chosen by leaving out: a condition with all its events, to see what is known of others, and single events of
conditions that have several, to see what is known of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.conditions import Conditions
from flowprior.errors import InputError, OptionError
from flowprior.mixtures.moments import ConditionMoments
from flowprior.mixtures.samples import thinned
from flowprior.priors.base import Prior
from flowprior.priors.checks import check_finite
from flowprior.priors.far import FarConditions, Part
from flowprior.priors.holdout import LEAST_CONDITIONS, conditioned
from flowprior.priors.mean_prior import MeanPrior
from flowprior.priors.nearest import (
    MOST,
    DistinctEmbeddings,
    LeftOut,
    Neighbours,
    choose_kernel,
    kernel_average,
    kernel_weights,
    neighbours,
)
from flowprior.priors.residuals import FixedResiduals, check_sigma
from flowprior.priors.seen_conditions import NOTHING, SeenConditions
from flowprior.registry import check_counts
from flowprior.streams.batches import Batch, CheckedBatches

OWNER = "prior 'kernel-mean'"
MOST_NEIGHBOURS = 128
"""Of which the number is chosen."""
ROWS, NUMBERS = 2048, 1 << 21
"""Most rows, and numbers in them, that are left out to choose by."""


@Prior.register("kernel-mean")
class KernelMeanPrior(MeanPrior):
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
    """

    def __init__(
        self,
        neighbours: int | str = "auto",
        bandwidth: float | str = "auto",
        sigma: float | str = "scalar",
        representatives: int = MOST,
    ) -> None:
        super().__init__(SeenConditions(keep=NOTHING))
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
        self.bandwidth_chosen = nn.Buffer(torch.ones(()))
        self.neighbours_chosen = nn.Buffer(torch.ones((), dtype=torch.long))
        self.means = nn.Buffer(torch.empty(0))  # of the events of each condition that was seen, [M, D]
        self.residuals = FixedResiduals(0, sigma)

    # -- fit ----------------------------------------------------------------------------------

    @torch.no_grad()
    def _fit(self, data: CheckedBatches, generator: torch.Generator | None) -> None:
        first, cond = data.peek()
        if cond is None:
            raise InputError("kernel-mean.fit: expected labels or embeddings, got None; use 'gaussian'")
        self.center = self.seen.learn(data, generator).to(first)
        self.residuals = FixedResiduals(first[0].numel(), self.sigma).to(first)
        self.distance = FarConditions().to(first)
        if self.seen.has_labels:
            moments = ConditionMoments.over(data.labelled())
            self.means = moments.mean[moments.count > 0].to(first)
            rows = conditioned(data)
            left = (x.to(self.center) - self._mean_without(x, labels) for x, labels in rows)
            self.residuals.learn(left, data)
            return
        found = DistinctEmbeddings.over(self._measured(data), self.representatives, events=True)
        self.seen.rows, self.seen.weight = found.rows.to(first.device), found.count.to(first)
        self.means = found.means.to(first)
        self._fit_kernel(data)

    def _fit_kernel(self, data: CheckedBatches) -> None:
        """Choose neighbours and bandwidth, and learn the spread, near and far."""
        most = max(1, min(ROWS, NUMBERS // len(self.center)))
        rows = list(conditioned(thinned(partial(self._measured, data), most)))
        apart = [self._without_condition(x, cond) for x, cond in rows]
        beside = [part for x, cond in rows for part in self._without_row(x, cond)]
        neighbours = None if self.neighbours == "auto" else int(self.neighbours)
        bandwidth = None if self.bandwidth == "auto" else float(self.bandwidth)
        chosen = choose_kernel(self.means, apart, beside, neighbours, bandwidth)
        self.neighbours_chosen = torch.as_tensor(chosen[0]).to(self.neighbours_chosen)
        self.bandwidth_chosen = torch.as_tensor(chosen[1]).to(self.center)
        left = (part.x - self.center - self._deviation_of(part) for part in beside or apart)
        self.residuals.learn(left, data)
        if len(self.seen.rows) >= LEAST_CONDITIONS:
            near = None if beside and isinstance(self.sigma, str) else 1.0
            parts = [
                Part(part.x, self._deviation_of(part), part.near.distance[:, 0]) for part in [*apart, *beside]
            ]
            self.residuals.scale(self.distance.fit(parts, self.center, self.residuals.noise, near=near))

    @property
    def kept_data(self) -> str:
        kept = super().kept_data
        of_data = "each with the mean of its data, which is a training sample where the condition occurs once"
        return f"{kept}, {of_data}" if kept else ""

    def _measured(self, data: Iterable[Batch]) -> Iterator[tuple[Tensor, Tensor]]:
        """The same batches, in the table's dtype."""
        for x, cond in conditioned(data):
            yield x.to(self.center), self._embedded(cond)

    def _without_condition(self, x: Tensor, cond: Tensor) -> LeftOut:
        """Neighbours of each row but its own condition."""
        near = self._neighbours(cond, self._most_neighbours + 1)
        width = near.place.shape[1] - 1
        columns = torch.arange(width, device=x.device) + (near.distance[:, :1] == 0).long()
        return LeftOut(x, Neighbours(*(part.gather(1, columns) for part in near)), None)

    def _without_row(self, x: Tensor, cond: Tensor) -> list[LeftOut]:
        """Neighbours of the rows whose own condition has others, without the row."""
        near = self._neighbours(cond, 1)
        rows = ((near.distance[:, 0] == 0) & (near.events[:, 0] > 1)).nonzero()[:, 0]
        return [self._without(x[rows], cond[rows], self._most_neighbours)] if len(rows) else []

    def _without(self, x: Tensor, cond: Tensor, count: int) -> LeftOut:
        """``count`` neighbours of each row without the row; a condition of that row alone is none of them."""
        near = self._neighbours(cond, count + 1)
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
        change = (self.means[place[:, 0]] - x) / events[:, :1].clamp_min(1)
        return LeftOut(x, Neighbours(distance, place, events), several * change)

    def _mean_without(self, x: Tensor, labels: Tensor) -> Tensor:
        """Mean ``[n, D]`` of the other rows of each row's label; that of all others where there are none."""
        place = self._place_of(labels.to(self.center.device))
        others = (self.seen.weight[place] - 1)[:, None]
        mean, rest = self.means[place], (self.seen.weight.sum() - 1).clamp_min(1)
        without = mean + (mean - x.to(mean)) / others.clamp_min(1)
        return torch.where(others > 0, without, self.center + (self.center - x.to(mean)) / rest)

    def _deviation_of(self, part: LeftOut) -> Tensor:
        """m(c) − m̄ ``[n, D]`` where the rows are left out."""
        near = self._cut(part.near)
        if not near.place.shape[1]:
            return torch.zeros_like(part.x)
        mean = kernel_average(self.means, near, float(self.bandwidth_chosen))
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

    def _neighbours(self, cond: Tensor, count: int) -> Neighbours:
        """The nearest of the embeddings that are kept, at most ``count``, for ``cond`` ``[B, E]``."""
        return neighbours(cond, self.seen.rows, self.seen.weight, count)

    def _place_of(self, labels: Tensor) -> Tensor:
        """Rows ``[B]`` of the table of means of labels that were seen."""
        return torch.searchsorted(self.seen.rows, labels.contiguous())

    @torch.no_grad()
    def _deviation(self, cond: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.seen.has_labels:
            return self.means[self._place_of(cond)] - self.center, None
        near = self._neighbours(self._embedded(cond), int(self.neighbours_chosen))
        mean = kernel_average(self.means, near, float(self.bandwidth_chosen))
        return mean - self.center, near.distance[:, 0]

    def sample_without(
        self,
        x1: Tensor,
        cond: Conditions | Mapping[str, Any] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw x0 ``[B, *event]``, each from the prior without its datum; of null conditions as usual.

        It is the mean that is without the datum; the spread stays.

        Args:
            x1: data ``[B, *event]`` that the prior was fitted to. It does not look whether it was: others
                are taken out of a mean that they are not in.
            cond: their labels ``[B]``, embeddings ``[B, E]``, named parts, or None.
            generator: source of the randomness.

        Raises:
            NotFittedError: the prior was not fitted.
            InputError: x1 is not finite or of another event shape, or the condition is not that of the fit.
        """
        rows, read = self._rows_asked(x1, cond, "sample_without")
        check_finite(x1, f"{self.name}.sample_without")
        if read is None:
            raise InputError(f"{self.name}.sample_without: expected the condition of each datum, got None")
        x0 = self._sample_without(rows, read, generator)
        null = self._null_rows(read)
        if null is not None:
            x0[null] = self._sample_any(read[null], int(null.sum()), generator)
        return x0.reshape(len(x1), *self.event_shape)

    @torch.no_grad()
    def _sample_without(self, x1: Tensor, cond: Tensor, generator: torch.Generator | None) -> Tensor:
        if float(self.seen.weight.sum()) < 2:
            raise InputError(
                "kernel-mean.sample_without: expected two data or more in the conditions that are kept, got "
                "one; raise representatives, or fit to more"
            )
        if self.seen.has_labels:
            deviation, distance = self._mean_without(x1, cond) - self.center, None
        else:
            part = self._without(x1.to(self.center), self._embedded(cond), int(self.neighbours_chosen))
            deviation, distance = self._deviation_of(part), part.near.distance[:, 0]
        around = self.distance.around(self.center, deviation, cond, distance)
        return self.residuals.sample(around, generator)

    def _make_parts(self, state_dict: Mapping[str, Tensor], prefix: str) -> None:
        center = state_dict.get(prefix + "center")
        if center is not None:
            self.residuals = FixedResiduals(len(center), self.sigma)
            self.to(center.dtype)
