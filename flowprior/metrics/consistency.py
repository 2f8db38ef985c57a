"""Consistency of samples with their conditions, where these are observations of an event.

A restoration is made low-resolution again, or hidden again, and held against what was observed.
"""

from __future__ import annotations

from torch import Tensor

from flowprior.conditions import Conditions, Parts, kind_of
from flowprior.data.base import Observation
from flowprior.metrics.base import Metric, MetricInfo
from flowprior.metrics.ensembles import PairedMetric
from flowprior.metrics.setup import Drawn, Setup


def consistency(observation: Observation, x: Tensor, cond: Conditions) -> Tensor:
    """Root mean square difference ``[B]`` of what would be observed of x ``[B, *event]`` and what was.

    Args:
        observation: how events are seen.
        x: samples.
        cond: the observations, or parts of which one is.
    """
    expected, found = observation.of(x, _observed(cond))
    return (found.double() - expected.double()).square().flatten(1).mean(1).sqrt()


def _observed(cond: Conditions) -> Tensor:
    parts = [part for _, part in cond.items()] if isinstance(cond, Parts) else [cond]
    return next(part for part in parts if isinstance(part, Tensor) and kind_of(part) == "tensor")


@Metric.register("consistency")
class Consistency(PairedMetric):
    """Difference between what was observed and what would be observed of a sample, root mean square."""

    value = "consistency"
    names = ("consistency",)
    what = "root mean square difference of what would be observed of a sample and what was"

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        return {} if setup.reference.data.observation is None else super().columns(setup)

    def lacks(self, setup: Setup) -> str:
        return "conditions that are observations, as of the data set 'restoration'"

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        observation = setup.reference.data.observation
        assert observation is not None
        assert drawn.cond is not None
        return {self.value: consistency(observation, drawn.x, drawn.cond).mean().item()}
