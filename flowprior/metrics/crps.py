"""Continuous ranked probability score of ensembles, a number at a time (Gneiting & Raftery 2007, eq. 21).

CRPS(F, y) = E|X − y| − ½ E|X − X'|, in units of the event: the absolute error of one certain sample, and less
for several that spread as widely as they err. With m members the second mean is taken over the m (m − 1)
pairs of different ones, so that no number of members is favoured (Ferro 2014, the fair score).
"""

from __future__ import annotations

from torch import Tensor

from flowprior.metrics.base import Metric
from flowprior.metrics.paired import EnsembleMetric, pairwise_mean


def crps(samples: Tensor, truth: Tensor) -> Tensor:
    """The fair score of each condition, averaged over the numbers of an event: float64 ``[n]``.

    Args:
        samples: ``[n, members, *event]``; of a single member its absolute error.
        truth: ``[n, *event]``.
    """
    samples, truth = samples.double().flatten(2), truth.double().flatten(1)
    error = (samples - truth[:, None]).abs().mean(1)
    if samples.shape[1] > 1:
        error = error - pairwise_mean(samples, None) / 2
    return error.mean(1)


@Metric.register("crps")
class Crps(EnsembleMetric):
    """Continuous ranked probability score of the numbers of an event, fair to the number of members."""

    value = "crps"
    names = ("crps",)
    what = "continuous ranked probability score, averaged over the numbers of an event"

    def scores(self, samples: Tensor, truth: Tensor) -> Tensor:
        return crps(samples, truth)
