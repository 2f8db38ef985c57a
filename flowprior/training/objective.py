"""What the loss is made of beside the prediction: when the network is asked, and what an answer counts."""

from __future__ import annotations

from flowprior.couplings import Coupling
from flowprior.flow.prediction_kinds import check_precision, suited_times
from flowprior.flow.predictions import Prediction
from flowprior.training.config import DEFAULT_TIME, TrainingConfig
from flowprior.training.loss_weights import LossWeight
from flowprior.training.times import TimeDistribution


def times_and_weight(
    config: TrainingConfig, prediction: Prediction, coupling: Coupling
) -> tuple[TimeDistribution, LossWeight]:
    """The law of the times and the weight of the losses that ``config`` names, checked with its prediction.

    Args:
        config: with the prediction's name; ``time="auto"`` is what suits it and the coupling.
        prediction: of that name.
        coupling: of the run.

    Raises:
        OptionError: times, a weight or a precision that this prediction cannot be trained with.
    """
    check_precision(config.prediction, config.precision)
    suited = suited_times(config.prediction, coupling)
    times = TimeDistribution.registry.resolve(suited if config.time == DEFAULT_TIME else config.time)
    times.check(config.prediction, intervals=prediction.interval)
    weight = LossWeight.registry.resolve(config.loss_weight)
    weight.check(config.prediction)
    return times, weight
