"""Paths from source sample to datum: x_t = α(t) x1 + σ(t) x0."""

from flowprior.paths.base import (
    Coefficients,
    CondOTPath,
    CosinePath,
    Ends,
    Path,
    PathSample,
    PathTime,
    VPPath,
    ends_of_velocity,
    velocity_of_source,
)

__all__ = [
    "Coefficients",
    "CondOTPath",
    "CosinePath",
    "Ends",
    "Path",
    "PathSample",
    "PathTime",
    "VPPath",
    "ends_of_velocity",
    "velocity_of_source",
]
