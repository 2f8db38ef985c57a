"""The coupling, prediction and timestep distribution that ``"auto"`` stands for with a prior."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from flowprior.couplings import Coupling, ReflowCoupling
from flowprior.errors import UnknownComponentError
from flowprior.flow.pair_moments import are_known
from flowprior.flow.prediction_kinds import suited_times
from flowprior.models.base import takes_inputs
from flowprior.priors import Prior, latents_of
from flowprior.training.config import (
    DEFAULT_COUPLING,
    DEFAULT_MODEL,
    DEFAULT_PREDICTION,
    DEFAULT_TIME,
    LATENT_MODEL,
    NO_LATENT,
    RunConfig,
)
from flowprior.training.rectifying import with_origin


def choose_defaults(
    config: RunConfig,
    prior: str | Prior | None,
    coupling: str | Coupling | None,
    model: str | nn.Module | None = None,
) -> RunConfig:
    """``config`` with what its ``"auto"`` stand for, given prior, coupling and model as they came."""
    start = Prior.registry.resolve(prior or config.prior)
    config = replace(config, coupling=_coupling_for(start, config.coupling, coupling))
    paired = coupling if isinstance(coupling, Coupling) else resolve_coupling(config.coupling)
    training = config.training
    if training.prediction == DEFAULT_PREDICTION:
        network = config.model if model is None else model
        training = replace(training, prediction=_prediction_for(start, paired, network))
    if training.time == DEFAULT_TIME:
        training = replace(training, time=suited_times(training.prediction, paired))
    if config.latent != NO_LATENT and config.model == DEFAULT_MODEL:
        config = replace(config, model=LATENT_MODEL)
    return replace(config, training=training)


def resolve_coupling(coupling: str | Coupling) -> Coupling:
    """The coupling that is named or given.

    Raises:
        UnknownComponentError: no such name; of those that ``train`` takes, ``"auto"`` is named too.
    """
    try:
        return Coupling.registry.resolve(coupling)
    except UnknownComponentError as error:
        raise UnknownComponentError(f"{error}, and '{DEFAULT_COUPLING}' for what suits the prior") from None


def _coupling_for(prior: Prior, spec: str, given: str | Coupling | None) -> str:
    """What is recorded of the coupling; one of ``reflow`` that is ``given`` learns its origin here."""
    if spec == DEFAULT_COUPLING:
        return "posterior" if _fits_latents(prior) else "condot" if prior.is_narrow else "ot"
    if isinstance(given, Coupling) and not isinstance(given, ReflowCoupling):
        return spec
    found = with_origin(spec)
    if isinstance(given, ReflowCoupling):
        given.origin = Coupling.registry.parse(found).options.get("origin", given.origin)
    return found


def _prediction_for(prior: Prior, coupling: Coupling, model: str | nn.Module) -> str:
    """What a network learns: what the moments of the pairs leave, where they are known and hold a mean."""
    if not are_known(prior, coupling) or not (_fits_latents(prior) or prior.is_narrow):
        return "velocity"
    shown_more = isinstance(model, str) and takes_inputs(model)
    return "preconditioned" if shown_more and not prior.is_narrow else "residual"


def _fits_latents(prior: Prior) -> bool:
    latents = latents_of(prior)
    return latents is not None and latents.fits_latents
