"""Paths from source sample to datum: x_t = α(t) x1 + σ(t) x0."""

import flowprior.paths.noisy
from flowprior.paths.base import (
    Coefficients,
    CondOTPath,
    CosinePath,
    Path,
    PathSample,
    VPPath,
    ends_of_velocity,
    velocity_of_source,
)

__all__ = [
    "Coefficients",
    "CondOTPath",
    "CosinePath",
    "Path",
    "PathSample",
    "VPPath",
    "ends_of_velocity",
    "velocity_of_source",
]
