"""Spread of several samples of one condition beside the error of their mean."""

from __future__ import annotations

from torch import Tensor

from flowprior.metrics.base import Metric
from flowprior.metrics.paired import EnsembleMetric


def member_spread(samples: Tensor) -> Tensor:
    """Standard deviation ``[n]`` of ``[n, members, *event]``, root mean square over an event."""
    return samples.double().flatten(2).var(1).mean(1).sqrt()


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
