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
from flowprior.priors.base import Prior, check_finite
from flowprior.priors.holdout import LEAST_CONDITIONS, conditioned
from flowprior.priors.kernels import are_kernels
from flowprior.priors.mean_prior import FarConditions, MeanPrior, Part
from flowprior.priors.nearest import (
    LeftOut,
    Neighbours,
    choose_kernel,
    distinct_embeddings,
    kernel_average,
    kernel_weights,
    nearest,
)
from flowprior.priors.residuals import LOWRANK, check_sigma, constant_residuals
from flowprior.priors.seen_conditions import SeenConditions
from flowprior.registry import check_counts
from flowprior.streams.batches import Batch, CheckedBatches

OWNER = "prior 'kernel-mean'"
MOST_NEIGHBOURS = 128
"""The largest number of neighbours that may be chosen."""
ROWS, NUMBERS = 2048, 1 << 21
"""The largest number of rows, and of numbers in them, that are left out to choose by."""


@Prior.register("kernel-mean")
class KernelMeanPrior(MeanPrior):
    """The mean of the nearest conditions' events by a kernel, plus noise: a mapper's rival, without training.

    Of labels it is the table of their means. Of embeddings **it holds training data**: at most
    4,096 distinct ones of E numbers as they are, each with the mean of its D numbers, which is
    a training sample where the embedding occurs once. Files and model cards say so, and ``push_to_hub``
    refuses it unless ``allow_training_data=True``. These are 4,096 · (E + D + 1) numbers of state, 57 MB in
    float32 for E = 384 and pictures 3 × 32 × 32.

    Args:
        neighbours: representatives that are averaged over at the most; ``"auto"`` chooses among 1, 2, 4 … 128
            by the error on conditions that are left out.
        bandwidth: h, in units of the Euclidean distance; ``"auto"`` chooses it with the neighbours.
        sigma: standard deviation of the noise, a number; or its estimate from rows that are left out:
            ``"scalar"``, ``"diagonal"``, ``"lowrank"`` or kernels, as ``learned-mean`` has them.
    """

    def __init__(
        self,
        neighbours: int | str = "auto",
        bandwidth: float | str = "auto",
        sigma: float | str = "scalar",
    ) -> None:
        super().__init__(SeenConditions(keep_centres=False))
        if neighbours != "auto":
            check_counts(OWNER, neighbours=neighbours)
        if bandwidth != "auto" and not (isinstance(bandwidth, int | float) and 0 < bandwidth < 1e12):
            raise OptionError(f"{OWNER}: expected bandwidth > 0 or 'auto', got {bandwidth!r}")
        check_sigma(OWNER, sigma)
        self.neighbours = neighbours
        self.bandwidth = bandwidth
        self.sigma = sigma
        self.has_latents, self.has_spread = sigma == LOWRANK, not are_kernels(sigma)
        self.suited_coupling = "posterior" if self.has_latents else "ot"
        self.bandwidth_chosen = nn.Buffer(torch.ones(()))
        self.neighbours_chosen = nn.Buffer(torch.ones((), dtype=torch.long))
        self.means = nn.Buffer(torch.empty(0))  # of the events of each condition that was seen, [M, D]
        self.residuals = constant_residuals(OWNER, sigma, 0)

    # -- fit ----------------------------------------------------------------------------------

    @torch.no_grad()
    def _fit(self, data: CheckedBatches, generator: torch.Generator | None) -> None:
        first, cond = data.peek()
        if cond is None:
            raise InputError("kernel-mean.fit: expected labels or embeddings, got None; use 'gaussian'")
        self.center = self.seen.learn(data, generator).to(first)
        self.residuals = constant_residuals(OWNER, self.sigma, first[0].numel()).to(first)
        self.distance = FarConditions().to(first)
        if self.seen.has_labels:
            moments = ConditionMoments.over(data.labelled())
            self.means = moments.mean[moments.count > 0].to(first)
        else:
            found = distinct_embeddings(partial(self._measured, data))
            self.seen.rows, self.seen.weight = found.rows.to(first.device), found.counts.to(first)
            self.means = found.means.to(first)
        self._fit_spread(data)

    def _fit_spread(self, data: CheckedBatches) -> None:
        """Choose neighbours and bandwidth, and learn the spread, near and far, by leaving rows out."""
        most = max(1, min(ROWS, NUMBERS // len(self.center)))
        rows = list(conditioned(thinned(partial(self._measured, data), most)))
        count = MOST_NEIGHBOURS if self.neighbours == "auto" else int(self.neighbours)
        apart = [self._left_out(x, cond, count, whole=True) for x, cond in rows]
        beside = [self._left_out(*self._of_several(x, cond), count, whole=False) for x, cond in rows]
        beside = [part for part in beside if len(part.x)]
        if not self.seen.has_labels:
            neighbours = None if self.neighbours == "auto" else count
            bandwidth = None if self.bandwidth == "auto" else float(self.bandwidth)
            chosen = choose_kernel(self.means, (apart, beside), neighbours, bandwidth)
            self.neighbours_chosen = torch.as_tensor(chosen[0]).to(self.neighbours_chosen)
            self.bandwidth_chosen = torch.as_tensor(chosen[1]).to(self.center)
        parts = [
            [Part(part.x, self._average(part.near, part.change), part.near.distance[:, 0]) for part in group]
            for group in (apart, beside)
        ]
        left = [(part.x - self.center - part.deviation, None) for part in parts[1] or parts[0]]
        self.residuals.learn(lambda rows: (x for x, _ in rows), lambda: left, data)
        if not self.seen.has_labels and len(self.seen.rows) >= LEAST_CONDITIONS:
            self.distance.fit([*parts[0], *parts[1]], self.center, self.residuals.noise)

    @property
    def kept_data(self) -> str:
        kept = super().kept_data
        of_data = "each with the mean of its data, which is a training sample where the condition occurs once"
        return f"{kept}, {of_data}" if kept else ""

    def _measured(self, data: Iterable[Batch]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the same batches in the table's dtype; equal embeddings are so bit by bit, as −0 is 0."""
        for x, cond in conditioned(data):
            yield x.to(self.center), self._own(cond) + 0

    def _of_several(self, x: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows whose condition is kept and has others."""
        near = self._neighbours(cond, 1)
        rows = ((near.distance == 0) & (near.events > 1))[:, 0]
        return x[rows], cond[rows]

    def _left_out(self, x: Tensor, cond: Tensor, count: int, *, whole: bool) -> LeftOut:
        """Return ``count`` neighbours of each row without the row, or without its whole condition."""
        near = self._neighbours(cond, count + 1)
        own = near.distance[:, :1] == 0
        dropped = own if whole else own & (near.events[:, :1] <= 1)
        near = Neighbours(*(torch.cat([part, part[:, -1:]], 1) for part in near))
        near.events[:, -1] = 0  # the place of the dropped one, if all others are taken already
        columns = torch.arange(min(count, near.place.shape[1] - 1), device=x.device) + dropped.long()
        near = Neighbours(*(part.gather(1, columns) for part in near))
        several = own & ~dropped
        near.events[:, :1] -= several.to(near.events)
        change = (self.means[near.place[:, 0]] - x) / near.events[:, :1].clamp_min(1)
        return LeftOut(x, near, several * change)

    # -- use ----------------------------------------------------------------------------------

    def _neighbours(self, cond: Tensor, count: int) -> Neighbours:
        """Return the nearest of the embeddings that are kept, at most ``count``; of a label itself."""
        if self.seen.has_labels:
            place = torch.searchsorted(self.seen.rows, cond[:, None].contiguous())
            return Neighbours(torch.zeros_like(place).to(self.center), place, self.seen.weight[place])
        distance, place = nearest(cond, self.seen.rows, count)
        return Neighbours(distance, place, self.seen.weight[place])

    def _average(self, near: Neighbours, change: Tensor | float = 0.0) -> Tensor:
        """Return m(c) − m̄ ``[n, D]``; ``change`` ``[n, D]`` is that of the nearest mean."""
        near = near.first(int(self.neighbours_chosen))
        weight = kernel_weights(near, float(self.bandwidth_chosen))
        mean = kernel_average(self.means, weight, near.place)
        return mean + weight[:, :1] * change - weight.sum(1, keepdim=True) * self.center

    @torch.no_grad()
    def _deviation(self, cond: Tensor) -> tuple[Tensor, Tensor]:
        near = self._neighbours(cond, int(self.neighbours_chosen))
        return self._average(near), near.distance[:, 0]

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
        null = self.seen.null_rows(read)
        if null is not None:
            x0[null] = self._sample_any(read[null], int(null.sum()), generator)
        return x0.reshape(len(x1), *self.event_shape)

    @torch.no_grad()
    def _sample_without(self, x1: Tensor, cond: Tensor, generator: torch.Generator | None) -> Tensor:
        if float(self.seen.weight.sum()) < 2:
            raise InputError(
                "kernel-mean.sample_without: expected two data or more in the conditions that are kept, got "
                "one; fit to more"
            )
        own = self._own(cond)
        part = self._left_out(x1.to(self.center), own, int(self.neighbours_chosen), whole=False)
        deviation = self._average(part.near, part.change)
        around = self.distance.around(self.center, deviation, own, part.near.distance[:, 0])
        return self.residuals.sample(around, generator)

    def _make_parts(self, state_dict: Mapping[str, Tensor], prefix: str) -> None:
        center = state_dict.get(prefix + "center")
        if center is not None:
            self.to(center.dtype)
