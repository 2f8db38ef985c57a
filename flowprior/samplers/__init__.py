"""Samplers: from a source sample at t = 0 to a sample at t = 1, with every evaluation counted."""

from flowprior.samplers.base import (
    PLAIN,
    AveragedVelocity,
    CountedVelocity,
    Sampler,
    Solution,
    SourceOptions,
    Velocity,
    draw_source,
)
from flowprior.samplers.diffusion import DDIM, Ancestral
from flowprior.samplers.fixed import (
    RK4,
    Euler,
    Exponential,
    FixedStepSampler,
    Heun,
    Heun3,
    Midpoint,
    TimeGrid,
    time_grid,
)
from flowprior.samplers.torchdiffeq import (
    AdaptiveHeun,
    AdaptiveSampler,
    Bosh3,
    Dopri5,
    Dopri8,
    ExplicitAdams,
    Fehlberg2,
    ImplicitAdams,
)

__all__ = [
    "DDIM",
    "PLAIN",
    "RK4",
    "AdaptiveHeun",
    "AdaptiveSampler",
    "Ancestral",
    "AveragedVelocity",
    "Bosh3",
    "CountedVelocity",
    "Dopri5",
    "Dopri8",
    "Euler",
    "ExplicitAdams",
    "Exponential",
    "Fehlberg2",
    "FixedStepSampler",
    "Heun",
    "Heun3",
    "ImplicitAdams",
    "Midpoint",
    "Sampler",
    "Solution",
    "SourceOptions",
    "TimeGrid",
    "Velocity",
    "draw_source",
    "time_grid",
]
