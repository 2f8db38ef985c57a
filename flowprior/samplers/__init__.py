"""Samplers: from a source sample at t = 0 to a sample at t = 1, with every evaluation counted."""

import flowprior.samplers.diffusion
from flowprior.samplers.base import CountedVelocity, Sampler, Velocity
from flowprior.samplers.fixed import FixedStepSampler, TimeGrid
from flowprior.samplers.torchdiffeq import AdaptiveSampler

__all__ = ["AdaptiveSampler", "CountedVelocity", "FixedStepSampler", "Sampler", "TimeGrid", "Velocity"]
