"""The predictions by name, and what follows from each: the network's inputs and times, the suited sampler."""

from __future__ import annotations

import torch

from flowprior.couplings import Coupling
from flowprior.errors import OptionError
from flowprior.flow.average_velocity import AverageVelocity
from flowprior.flow.pair_moments import check_moments
from flowprior.flow.predictions import Epsilon, Preconditioned, Prediction, Residual
from flowprior.models.base import BFLOAT16
from flowprior.paths import Path, check_prediction
from flowprior.priors import Prior
from flowprior.samplers import Sampler

LAST = 0.7
LAST_STEP_LONG = f"euler:grid=last,at={LAST}"
OVER_INTERVALS = "flow-map"

KINDS: dict[str, type[Prediction]] = {
    "velocity": Prediction,
    "residual": Residual,
    "preconditioned": Preconditioned,
    "epsilon": Epsilon,
    "average-velocity": AverageVelocity,
}


def make_prediction(name: str, prior: Prior, coupling: Coupling, path: Path) -> Prediction:
    """The prediction of this name.

    Raises:
        OptionError: an unknown one, or one that this prior, coupling or path cannot serve.
    """
    return KINDS[check_prediction(path, name)](prior, coupling, path)


def suited_sampler(name: str, coupling: Coupling) -> str:
    """Spec of the sampler that suits a prediction.

    Where source samples follow their data nearly all the way, as under ``posterior``, little noise is left
    near the end, which a network hardly sees: the last step is a long one. Else steps are equal. Average
    velocities are taken over whole steps.
    """
    if KINDS.get(name, Prediction).interval:
        return LAST_STEP_LONG.replace("euler", OVER_INTERVALS) if _follows(coupling) else OVER_INTERVALS
    moments = name in ("residual", "preconditioned")
    return LAST_STEP_LONG if moments and _follows(coupling) else "euler"


def suited_times(name: str, coupling: Coupling) -> str:
    """Spec of the law of the times that trains a prediction best, with the sampler's long last step."""
    kind = KINDS.get(name, Prediction)
    return f"{kind.times}:last={LAST}" if kind.interval and _follows(coupling) else kind.times


def _follows(coupling: Coupling) -> bool:
    """Whether source samples follow their data nearly all the way where these vary much."""
    slope = coupling.latent_slope(torch.full((1, 1), 100.0))
    return slope is not None and float(slope) > 0.5


def check_sampler(sampler: Sampler, name: str, prior: Prior, coupling: Coupling) -> None:
    """Refuse a sampler that asks for averages of a flow that gives none, or starts late where none can.

    Raises:
        OptionError: what to choose instead.
    """
    if sampler.start > 0:
        late = f"sampler '{sampler.name}' with start={sampler.start:g}"
        check_moments(prior, coupling, late, "start=0", exact=True)
        if sampler.stochastic:
            raise OptionError(f"{late} draws noise on the way, which cannot start late; use start=0")
    if sampler.bends_by_moments and KINDS[name].interval:
        raise OptionError(
            f"sampler '{sampler.name}' makes averages of velocities, this flow predicts them; use sampler "
            "'flow-map' (--sampler flow-map)"
        )
    if not sampler.over_intervals or KINDS[name].interval:
        return
    if sampler.bends_by_moments:
        other = "another sampler (--sampler euler)"
        check_moments(prior, coupling, f"sampler '{sampler.name}'", other, exact=True)
    else:
        raise OptionError(
            f"sampler '{sampler.name}' needs a flow of prediction 'average-velocity', got '{name}'; choose "
            "another sampler (--sampler euler), or train with --set training.prediction=average-velocity"
        )


def check_precision(name: str, precision: str) -> None:
    """Refuse to train in a precision that loses what a prediction learns from.

    Raises:
        OptionError: what to choose instead.
    """
    if KINDS[name].interval and precision == BFLOAT16:
        raise OptionError(
            f"prediction '{name}' learns from differences of the network's own output, of which bfloat16 "
            "keeps too few digits; choose precision float32 (--set training.precision=float32)"
        )
