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

An ensemble is calibrated if its truth could be one of its members. Then the spread of the members is as large
as the error of their mean (Fortin et al. 2014), the rank of the truth among them is uniform (Talts et al.
2018), and a region of probability p holds p of the truths (Hermans et al. 2022).
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.metrics.base import Metric, MetricInfo, SampleMetric
from flowprior.metrics.setup import Drawn, Setup
from flowprior.registry.options import check_numbers


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


def spread_skill_ratio(samples: Tensor, truth: Tensor) -> float:
    """Return the spread of the members over the error of their mean; 1 is calibrated, below 1 too certain.

    The spread is ((m + 1)/m · V)^½ with the mean V of the unbiased variances of m members, and the error is
    the root mean square of truth − mean of the members (Fortin et al. 2014, J. Hydrometeorology 15, 1708).
    Both are taken over conditions and numbers of an event.

    Args:
        samples: ``[n, members, *event]``, at least two members.
        truth: ``[n, *event]``.

    Raises:
        InputError: shapes that do not fit, a single member, or numbers that are not finite.
    """
    samples, truth = _checked("spread_skill_ratio", samples, truth, least=2)
    spread = samples.var(1).mean() * (1 + 1 / samples.shape[1])
    return (spread / (samples.mean(1) - truth).square().mean()).sqrt().item()


def calibration_ranks(samples: Tensor, truth: Tensor) -> Tensor:
    """Return the number of members below the truth, from 0 to their number: int64 ``[n, *event]``.

    Each number of an event has ranks of its own, which are uniform if the members are drawn from the
    distribution of the truth (Talts et al. 2018, arXiv 1804.06788, theorem 1).

    Args:
        samples: ``[n, members, *event]``, such as posterior samples ``[n, members, F]``.
        truth: ``[n, *event]``.

    Raises:
        InputError: shapes that do not fit, or numbers that are not finite.
    """
    samples, truth = _checked("calibration_ranks", samples, truth)
    return (samples < truth[:, None]).sum(1)


def expected_coverage(
    log_prob_samples: Tensor, log_prob_truth: Tensor, levels: Sequence[float] | Tensor
) -> Tensor:
    """Return the share of truths in the highest-density region of each level: float64 ``[levels]``.

    Above its level a distribution is conservative, below it is too certain (Hermans et al. 2022, arXiv
    2110.06581). If k of m members have a higher density than the truth, it counts with p (m + 1) − k, clamped
    to [0, 1]: 1 within the region of level p, 0 beyond it, and a fraction at its border. So the expected
    share is p if members are drawn from the distribution of the truth, whatever m.

    Args:
        log_prob_samples: log q(sample | c) of samples of q(· | c), ``[n, members]``.
        log_prob_truth: log q(truth | c), ``[n]``; −∞ outside the support.
        levels: probabilities in [0, 1].

    Raises:
        InputError: shapes that do not fit, or densities that are NaN or infinite.
        OptionError: a level outside [0, 1].
    """
    for level in levels:
        check_numbers("expected_coverage", level=(float(level), 0, 1))
    least = torch.finfo(torch.float64).min  # in place of −∞
    samples, truth = (x.double().clamp_min(least) for x in (log_prob_samples, log_prob_truth))
    samples, truth = _checked("expected_coverage", samples, truth)
    higher = (samples > truth[:, None]).sum(1).reshape(-1, 1)
    reached = torch.as_tensor(levels, dtype=samples.dtype, device=samples.device) * (samples.shape[1] + 1)
    return (reached - higher).clamp(0, 1).mean(0)


def _checked(owner: str, samples: Tensor, truth: Tensor, least: int = 1) -> tuple[Tensor, Tensor]:
    """Return samples ``[n, members, *event]`` and truths ``[n, *event]`` in float64.

    Raises:
        InputError: other shapes, fewer than ``least`` members, or numbers that are not finite.
    """
    fits = samples.dim() > 1 and truth.shape == samples.shape[:1] + samples.shape[2:]
    if not fits or samples.shape[1] < least or not truth.numel():
        raise InputError(
            f"{owner}: expected samples [n, members, *event] with {least} members or more and truths "
            f"[n, *event], got {list(samples.shape)} and {list(truth.shape)}"
        )
    if not (torch.isfinite(samples).all() and torch.isfinite(truth).all()):
        raise InputError(f"{owner}: expected finite numbers, got NaN or infinity")
    return samples.double(), truth.double()


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


@Metric.register("spread-skill")
class SpreadSkill(PairedMetric):
    """Spread of several samples of one condition over the error of their mean; 1 is calibrated."""

    value = "spread_skill"
    what = "spread of the samples of one condition over the error of their mean; 1 is calibrated"
    better = ""
    names = ()
    least = 2

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        return {self.value: spread_skill_ratio(*ensembles(setup, drawn))}


def ensembles(setup: Setup, drawn: Drawn) -> tuple[Tensor, Tensor]:
    """Return samples ``[n, members, *event]`` of n conditions, and their real events ``[n, *event]``."""
    truth, _ = setup.reference.data.batch(setup.indices[:: setup.members])
    return drawn.x.view(len(truth), setup.members, *truth.shape[1:]), truth.to(drawn.x)
