"""Source samples paired with the data that semidiscrete optimal transport sends them to, within the label.

The source distribution p0(·|c) is continuous, the data of a label are N points x_j of weight 1/N. Optimal
transport between the two is a map: with potentials g_j that maximise the dual

    E_{x0 ~ p0(·|c)} min_j [½‖x0 − x_j‖² − g_j] + mean_j g_j,

x0 goes to the datum where the minimum lies (arXiv 2509.25519; Genevay et al. 2016). The gradient of the
dual is 1/N minus the share of source samples that go to x_j, so stochastic ascent needs source samples alone,
and pairs cost one row of products each, without an assignment problem for each batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.couplings.base import Coupling
from flowprior.couplings.by_label import WITHOUT, check_labels, labels_of, samples_of_each
from flowprior.couplings.ot import OTCoupling
from flowprior.errors import CouplingError, NotFittedError
from flowprior.mixtures.grouped import rows_of_each
from flowprior.priors import Prior
from flowprior.registry import check_counts
from flowprior.registry.options import check_numbers
from flowprior.streams.batches import CheckedBatches, FitData

OWNER = "coupling 'semidiscrete'"
INSTEAD = "'ot'"
"""The advice for conditions and amounts of data that it cannot serve."""
STEPS_EACH, ENOUGH_STEPS = 64, 500
"""The number of steps of the ascent for each datum of a label, and the most unless ``passes`` needs more."""
DRAWN_EACH, LEAST_DRAWN = 128, 25
"""The number of source samples for each datum, and the fewest batches; later steps take them again."""
MOST_KEPT = 256 << 20
"""The largest number of bytes of batches kept for later steps; with more, each step draws its own."""
SHORTEST = 3e-3
"""The length of the last step of the ascent relative to the first."""
UNEVEN = 0.5
"""The χ² of the shares of the data above which a fit warns."""


@dataclass(frozen=True)
class Target:
    """The data of one label.

    Attributes:
        points: x_j ``[N, D]``.
        potentials: g ``[N]``.
    """

    points: Tensor
    potentials: Tensor

    def nearest(self, points: Tensor) -> Tensor:
        """Return the datum ``[B]`` that each source sample ``[B, D]`` goes to."""
        heights = self.potentials - 0.5 * self.points.square().sum(1)
        return torch.addmm(heights, points, self.points.T).argmax(1)


@Coupling.register("semidiscrete")
class SemidiscreteCoupling(Coupling):
    """x0 ~ p0(·|c), and the datum of c that semidiscrete optimal transport sends it to.

    The source samples of training follow p0(·|c) exactly, and which data they meet does not depend on the
    batch. For labels or no condition; :meth:`fit` holds all data in memory and draws source samples in
    proportion to the data.

    :meth:`pairs` is what training calls. :meth:`draw`, which must keep the data that it is given, can only
    re-pair them within the batch, as ``ot`` does.

    Args:
        passes: source samples of the ascent for each datum, at least; few data get more.
        batch: source samples of one step of the ascent.
        rate: length of a step at the beginning, relative to the spread of the costs of one source sample.
    """

    def __init__(self, passes: int = 40, batch: int = 512, rate: float = 0.3) -> None:
        check_counts(OWNER, passes=passes, batch=batch)
        check_numbers(OWNER, rate=(rate, 0, 1e6))
        self.passes = passes
        self.batch = batch
        self.rate = rate
        self.targets: dict[int, Target] = {}
        self.unevenness = float("nan")
        """The χ² of the data's shares of source samples, mean over labels; 0 if all are equal."""

    @property
    def is_fitted(self) -> bool:
        return bool(self.targets)

    @torch.no_grad()
    def fit(self, prior: Prior, data: FitData, *, generator: torch.Generator | None = None) -> Self:
        """Hold the data of each label and find their potentials.

        Args:
            prior: fitted.
            data: batches (x1, c) with labels or without conditions.
            generator: of the source samples, on the prior's device.

        Raises:
            CouplingError: embeddings as conditions, or more data than may be held.
        """
        targets, errors = {}, []
        stream = CheckedBatches(data, self.name, _labels)
        for label, points in samples_of_each(stream, OWNER, INSTEAD).items():
            points = points.to(prior.event_dims.device)
            cond = None if label == WITHOUT else torch.tensor([label], device=points.device)
            potentials, error = self._ascend(prior, points, cond, generator)
            targets[label] = Target(points, potentials)
            errors.append(error)
        self.targets, self.unevenness = targets, sum(errors) / len(errors)
        if self.unevenness > UNEVEN:
            warnings.warn(
                f"{OWNER}: the data receive uneven shares of the source samples (χ² {self.unevenness:.2g}, 0 "
                "where all are equal); raise passes",
                stacklevel=2,
            )
        return self

    def draw(
        self, prior: Prior, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw source samples and pair them with data that are given by minibatch OT, without potentials."""
        return OTCoupling().draw(prior, x1, cond, generator=generator)

    @torch.no_grad()
    def pairs(
        self, prior: Prior, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return source samples ``[B, *event]`` under ``cond``, and the data of the fit that they go to.

        Raises:
            NotFittedError: :meth:`fit` was not called.
            CouplingError: a label without data, or another condition.
        """
        if not self.is_fitted:
            raise NotFittedError(f"{OWNER}: not fitted; call coupling.fit(prior, data) first, as train does")
        labels = labels_of(_labels(cond), len(x1))
        x0 = prior.sample(cond, len(x1), generator=generator)
        points = x0.flatten(1)
        chosen = torch.empty_like(x1.flatten(1))
        for label, rows in rows_of_each(labels.to(points.device)):
            if label not in self.targets:
                raise CouplingError(f"{OWNER}: label {label} had no data when it was fitted; fit it again")
            target = self.targets[label]
            chosen[rows] = target.points[target.nearest(points[rows])].to(chosen)
        return x0, chosen.view(x1.shape)

    def _ascend(
        self, prior: Prior, points: Tensor, cond: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, float]:
        """Return potentials ``[N]``, averaged over the last quarter of the ascent, and their χ²."""
        count = len(points)
        steps = max(min(STEPS_EACH * count, ENOUGH_STEPS), -(-self.passes * count // self.batch))
        first = self._sources(prior, cond, generator)
        spread = (first @ points.T - 0.5 * points.square().sum(1)).std(1).mean()
        length = self.rate * float(spread) * min(1.0, self.batch / count)
        potentials, mean = points.new_zeros(count), points.new_zeros(count)
        averaged = steps // 4
        for step, sources in enumerate(self._batches(steps, prior, points, cond, generator)):
            chosen = Target(points, potentials).nearest(sources)
            share = torch.bincount(chosen, minlength=count).to(points) * (count / self.batch)
            potentials = potentials + length * SHORTEST ** (step / steps) * (1 - share)
            if step >= steps - averaged:
                mean += potentials / averaged
        return mean, self._unevenness(prior, Target(points, mean), cond, generator)

    def _batches(
        self,
        steps: int,
        prior: Prior,
        points: Tensor,
        cond: Tensor | None,
        generator: torch.Generator | None,
    ) -> Iterator[Tensor]:
        """Yield source samples ``[batch, D]`` of each step: the first ones are drawn, and taken in turn."""
        drawn = max(LEAST_DRAWN, -(-max(DRAWN_EACH, self.passes) * len(points) // self.batch))
        if drawn * self.batch * points[0].numel() * points.element_size() > MOST_KEPT:
            drawn = steps
        kept = []
        for step in range(steps):
            if step < drawn:
                sources = self._sources(prior, cond, generator)
                if drawn < steps:
                    kept.append(sources)
            else:
                sources = kept[step % drawn]
            yield sources

    def _unevenness(
        self, prior: Prior, target: Target, cond: Tensor | None, generator: torch.Generator | None
    ) -> float:
        """Return N Σ_j p_j² − 1 of the data's shares p_j, unbiased, from twice as many samples as data."""
        count = len(target.points)
        rounds = max(2, -(-2 * count // self.batch))
        chosen = [target.nearest(self._sources(prior, cond, generator)) for _ in range(rounds)]
        received = torch.bincount(torch.cat(chosen), minlength=count).double()
        total = rounds * self.batch
        return float((received * (received - 1)).sum()) * count / (total * (total - 1)) - 1

    def _sources(self, prior: Prior, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Draw source samples ``[batch, D]``."""
        rows = None if cond is None else cond.expand(self.batch)
        return prior.sample(rows, self.batch, generator=generator).flatten(1)


def _labels(cond: Conditions | None) -> Tensor | None:
    return check_labels(cond, OWNER, INSTEAD)
