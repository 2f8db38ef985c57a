"""Priors p0(x0 | c): where a flow starts."""

from flowprior.priors.base import Prior
from flowprior.priors.gaussian import GaussianPrior
from flowprior.priors.gmm import GmmPrior
from flowprior.priors.latent_gmm import LatentGmmPrior
from flowprior.priors.learned_mean import LearnedMeanPrior
from flowprior.priors.normalising_flow import NormalisingFlowPrior
from flowprior.priors.vae import VaePrior

__all__ = [
    "GaussianPrior",
    "GmmPrior",
    "LatentGmmPrior",
    "LearnedMeanPrior",
    "NormalisingFlowPrior",
    "Prior",
    "VaePrior",
]
