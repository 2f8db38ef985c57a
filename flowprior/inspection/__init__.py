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

__all__ = ["Closeness", "FittedPrior", "fit_prior", "gaussian_w2_squared", "measure_closeness"]
__all__ += ["Examples", "Inspection", "Pairing", "inspect_priors", "prior_picture"]
__all__ += ["Candidate", "SimulatedFlow", "Suggestion", "energy_coefficient", "half_share"]
__all__ += ["simulate_flow", "suggest"]
