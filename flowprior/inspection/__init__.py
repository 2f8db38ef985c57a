"""Inspection of priors: what a prior will do, before any network is trained."""

from flowprior.inspection.closeness import Closeness, gaussian_w2_squared, measure_closeness
from flowprior.inspection.examples import Examples
from flowprior.inspection.inspect import inspect_priors
from flowprior.inspection.pictures import save_prior_picture
from flowprior.inspection.rehearsal import Rehearsal, energy_coefficient, rehearse
from flowprior.inspection.report import Fitted, Inspection, Pairing
from flowprior.inspection.suggestion import Candidate, Suggestion, suggest

__all__ = [
    "Candidate",
    "Closeness",
    "Examples",
    "Fitted",
    "Inspection",
    "Pairing",
    "Rehearsal",
    "Suggestion",
    "energy_coefficient",
    "gaussian_w2_squared",
    "inspect_priors",
    "measure_closeness",
    "rehearse",
    "save_prior_picture",
    "suggest",
]
