"""Priors p0(x0 | c): where a flow starts."""

from flowprior.priors.base import Prior
from flowprior.priors.gaussian import GaussianPrior
from flowprior.priors.gmm import GmmPrior

__all__ = ["GaussianPrior", "GmmPrior", "Prior"]
