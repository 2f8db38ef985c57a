"""Paths from start to datum: x_t = α(t) x1 + σ(t) x0."""

from flowprior.paths.base import Coefficients, Path, PathSample
from flowprior.paths.condot import CondOTPath
from flowprior.paths.cosine import CosinePath
from flowprior.paths.vp import VPPath

__all__ = ["Coefficients", "CondOTPath", "CosinePath", "Path", "PathSample", "VPPath"]
