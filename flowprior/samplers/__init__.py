"""Samplers: from a start at t = 0 to a sample at t = 1, with every evaluation counted."""

from flowprior.samplers.base import CountedVelocity, Sampler, Solution, Velocity
from flowprior.samplers.euler import Euler
from flowprior.samplers.fixed import FixedStepSampler
from flowprior.samplers.grid import time_grid
from flowprior.samplers.heun import Heun
from flowprior.samplers.midpoint import Midpoint
from flowprior.samplers.rk4 import RK4

__all__ = [
    "RK4",
    "CountedVelocity",
    "Euler",
    "FixedStepSampler",
    "Heun",
    "Midpoint",
    "Sampler",
    "Solution",
    "Velocity",
    "time_grid",
]
