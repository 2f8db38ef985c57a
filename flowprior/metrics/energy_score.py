"""Energy score of ensembles: the CRPS of whole events (:mod:`flowprior.mixtures.ensembles`).

Unlike the CRPS it sees whether the numbers of an event go together.
"""

from __future__ import annotations

from torch import Tensor

from flowprior.metrics.base import Metric
from flowprior.metrics.paired import EnsembleMetric
from flowprior.mixtures.ensembles import energy_score


@Metric.register("energy-score")
class EnergyScore(EnsembleMetric):
    """Energy score of whole events, fair to the number of members."""

    value = "energy_score"
    names = ("energy_score",)
    what = "energy score of whole events"

    def scores(self, samples: Tensor, truth: Tensor) -> Tensor:
        return energy_score(samples, truth)
