"""Energy score of ensembles: the CRPS of whole events (Gneiting & Raftery 2007, eq. 22).

ES(F, y) = E‖X − y‖ − ½ E‖X − X'‖. Unlike the CRPS it sees whether the numbers of an event go together. Pairs
of different members alone are averaged over, as in :mod:`flowprior.metrics.crps`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.metrics.base import Metric
from flowprior.metrics.paired import EnsembleMetric, pairwise_mean


def energy_score(samples: Tensor, truth: Tensor) -> Tensor:
    """The fair score of each condition, in units of the event: float64 ``[n]``; less is better.

    Args:
        samples: ``[n, members, *event]``; of a single member its Euclidean error.
        truth: ``[n, *event]``.
    """
    samples, truth = samples.double().flatten(2), truth.double().flatten(1)
    error = torch.linalg.vector_norm(samples - truth[:, None], dim=-1).mean(1)
    return error - pairwise_mean(samples, 2) / 2 if samples.shape[1] > 1 else error


@Metric.register("energy-score")
class EnergyScore(EnsembleMetric):
    """Energy score of whole events, fair to the number of members."""

    value = "energy_score"
    names = ("energy_score",)
    what = "energy score of whole events"

    def scores(self, samples: Tensor, truth: Tensor) -> Tensor:
        return energy_score(samples, truth)
