"""The metrics that compare samples with the one real event whose condition they were drawn for.

Where conditions say much (a low-resolution image, the hours before), each of them has one truth, and a
sample can be held against it. Several samples of one condition are an *ensemble*, as of a weather forecast:
evaluations draw them with ``members``, one after the other. Scores of ensembles follow Gneiting & Raftery
2007:

CRPS(F, y) = E|X − y| − ½ E|X − X'|, a number at a time (eq. 21), in units of the event: the absolute error of
one certain sample, and less for several that spread as widely as they err. With m members the second mean is
taken over the m (m − 1) pairs of different ones, so that no number of members is favoured (Ferro 2014, the
fair score).

ES(F, y) = E‖X − y‖ − ½ E‖X − X'‖, the energy score (eq. 22), is the same of whole events. Unlike the CRPS it
sees whether the numbers of an event go together.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from flowprior.metrics.base import Metric, MetricInfo, SampleMetric
from flowprior.metrics.setup import Drawn, Setup


class PairedMetric(SampleMetric):
    """The base class of one value, of samples of the conditions of real events.

    Attributes:
        value: its name.
        what: its description.
        better: ``"lower"``, ``"higher"`` or ``""``.
        least: members of an ensemble that it needs.
    """

    real_data = "none"
    value: ClassVar[str]
    what: ClassVar[str]
    better: ClassVar[str] = "lower"
    least: ClassVar[int] = 1

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        return self.described(setup, {self.value: self.what})

    def described(self, setup: Setup, what: Mapping[str, str]) -> dict[str, MetricInfo]:
        """Return the values that ``what`` describes by name; none if events have no own conditions."""
        if setup.balanced or setup.members < self.least or setup.reference.data.condition.kind == "none":
            return {}
        members = f", {setup.members} samples of each condition" if setup.members > 1 else ""
        reference = setup.reference.describe(setup.samples // setup.members)
        info = partial(MetricInfo, samples=setup.samples, reference=reference, better=self.better)
        return {name: info(description + members) for name, description in what.items()}

    def lacks(self, setup: Setup) -> str:
        if not setup.balanced and setup.members < self.least:
            return f"{self.least} samples or more of each condition (members, --members)"
        return "real events with the samples' own conditions (conditions='reference')"


class EnsembleMetric(PairedMetric):
    """The base class of scores of ensembles against truths; the value is their mean over conditions."""

    @abc.abstractmethod
    def scores(self, samples: Tensor, truth: Tensor) -> Tensor:
        """Return scores ``[n]`` of samples ``[n, members, *event]`` against truths ``[n, *event]``."""

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        return {self.value: self.scores(*ensembles(setup, drawn)).mean().item()}


def crps(samples: Tensor, truth: Tensor) -> Tensor:
    """Return the fair score of each condition, averaged over the numbers of an event: float64 ``[n]``.

    Args:
        samples: ``[n, members, *event]``; of a single member its absolute error.
        truth: ``[n, *event]``.
    """
    samples, truth = samples.double().flatten(2), truth.double().flatten(1)
    members = samples.shape[1]
    # In order, the k-th of m members is the greater of k pairs and the lesser of m − 1 − k.
    sign = 2 * torch.arange(members, device=samples.device) - (members - 1)
    apart = (samples.sort(1).values * sign[:, None]).sum(1) / _pairs(members)
    return ((samples - truth[:, None]).abs().mean(1) - apart / 2).mean(1)


def energy_score(samples: Tensor, truth: Tensor) -> Tensor:
    """Return the fair score of each condition, in units of the event: float64 ``[n]``; lower is better.

    Args:
        samples: ``[n, members, *event]``; of a single member its Euclidean error.
        truth: ``[n, *event]``.
    """
    samples, truth = samples.double().flatten(2), truth.double().flatten(1)
    error = torch.linalg.vector_norm(samples - truth[:, None], dim=-1).mean(1)
    apart = torch.cdist(samples, samples, compute_mode="donot_use_mm_for_euclid_dist").sum((1, 2)) / 2
    return error - apart / _pairs(samples.shape[1]) / 2


def member_spread(samples: Tensor) -> Tensor:
    """Return the standard deviation ``[n]`` of ``[n, members, *event]``, root mean square over an event."""
    return samples.double().flatten(2).var(1).mean(1).sqrt()


def _pairs(members: int) -> int:
    """Return the number of pairs of different members, 1 for a single one."""
    return max(members * (members - 1) // 2, 1)


@Metric.register("crps")
class Crps(EnsembleMetric):
    """Continuous ranked probability score of the numbers of an event, fair to the number of members."""

    value = "crps"
    names = ("crps",)
    what = "continuous ranked probability score, averaged over the numbers of an event"

    def scores(self, samples: Tensor, truth: Tensor) -> Tensor:
        return crps(samples, truth)


@Metric.register("energy-score")
class EnergyScore(EnsembleMetric):
    """Energy score of whole events, fair to the number of members."""

    value = "energy_score"
    names = ("energy_score",)
    what = "energy score of whole events"

    def scores(self, samples: Tensor, truth: Tensor) -> Tensor:
        return energy_score(samples, truth)


@Metric.register("member-spread")
class MemberSpread(EnsembleMetric):
    """Standard deviation of several samples of one condition, in units of the event."""

    value = "member_spread"
    what = "standard deviation of the samples of one condition, root mean square over an event"
    better = ""
    names = ()
    least = 2

    def scores(self, samples: Tensor, truth: Tensor) -> Tensor:
        return member_spread(samples)


def ensembles(setup: Setup, drawn: Drawn) -> tuple[Tensor, Tensor]:
    """Return samples ``[n, members, *event]`` of n conditions, and their real events ``[n, *event]``."""
    truth, _ = setup.reference.data.batch(setup.indices[:: setup.members])
    return drawn.x.view(len(truth), setup.members, *truth.shape[1:]), truth.to(drawn.x)
