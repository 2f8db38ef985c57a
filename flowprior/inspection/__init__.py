"""Inspection of priors: what a prior will do, before any network is trained."""

from flowprior.inspection.examples import Examples
from flowprior.inspection.fitted_prior import (
    FittedPrior,
    explained_variance,
    fit_prior,
    half_share,
    mean_log_density,
    prior_picture,
)
from flowprior.inspection.inspect import Candidate, Inspection, Pairing, inspect_priors, suggest
from flowprior.inspection.simulated_flow import SimulatedFlow, energy_coefficient, simulate_flow

__all__ = [
    "Candidate",
    "Examples",
    "FittedPrior",
    "Inspection",
    "Pairing",
    "SimulatedFlow",
    "energy_coefficient",
    "explained_variance",
    "fit_prior",
    "half_share",
    "inspect_priors",
    "mean_log_density",
    "prior_picture",
    "simulate_flow",
    "suggest",
]
