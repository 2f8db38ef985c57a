"""Inspection of priors: what a prior will do, before any network is trained."""

from flowprior.inspection.examples import Examples
from flowprior.inspection.fitted_prior import (
    Closeness,
    FittedPrior,
    fit_prior,
    gaussian_w2_squared,
    half_share,
    measure_closeness,
    prior_picture,
)
from flowprior.inspection.inspect import Candidate, Inspection, Pairing, Suggestion, inspect_priors, suggest
from flowprior.inspection.simulated_flow import SimulatedFlow, energy_coefficient, simulate_flow

__all__ = [
    "Candidate",
    "Closeness",
    "Examples",
    "FittedPrior",
    "Inspection",
    "Pairing",
    "SimulatedFlow",
    "Suggestion",
    "energy_coefficient",
    "fit_prior",
    "gaussian_w2_squared",
    "half_share",
    "inspect_priors",
    "measure_closeness",
    "prior_picture",
    "simulate_flow",
    "suggest",
]
