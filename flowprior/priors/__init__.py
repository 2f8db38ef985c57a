"""Priors p0(x0 | c): where a flow starts."""

import flowprior.priors.around
import flowprior.priors.empirical
import flowprior.priors.gp
from flowprior.priors.averaged_gmm import AveragedGmmPrior
from flowprior.priors.base import Prior
from flowprior.priors.gaussian import GaussianPrior
from flowprior.priors.gmm import GmmPrior, drop, merge
from flowprior.priors.kernel_mean import KernelMeanPrior
from flowprior.priors.latent_gmm import LatentGmmPrior
from flowprior.priors.learned_mean import LearnedMeanPrior

__all__ = [
    "AveragedGmmPrior",
    "GaussianPrior",
    "GmmPrior",
    "KernelMeanPrior",
    "LatentGmmPrior",
    "LearnedMeanPrior",
    "Prior",
    "drop",
    "merge",
]
