"""Path: x_t = α(t) x1 + σ(t) x0 and its velocity u_t = α'(t) x1 + σ'(t) x0; what a network predicts on it.

On x = α x1 + σ x0 with velocity u = α' x1 + σ' x0, any one of x0, x1 and u gives the other two. With
Δ = α σ' − σ α':

    x0 = (α u − α' x) / Δ        x1 = (σ' x − σ u) / Δ        u = (α' x + Δ x0) / α

All three are linear, so the same holds of their means given x, which is what a network learns. Between
N(0, I) and the data x0 is the noise ε, and its prediction is the objective of DDPM (Ho et al. 2020, eq. 14).

A network may predict the ``residual``, what is left of u beyond the linear velocity of the pairs' first two
moments (:mod:`flowprior.flow.linear_velocity`), or that in units of its own standard deviation
(:mod:`flowprior.flow.predictions`).
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from flowprior.errors import InputError, OptionError
from flowprior.ops import affine_path
from flowprior.ops.shapes import check_tensors
from flowprior.priors import Prior
from flowprior.registry import Registered, Registry


class PathSample(NamedTuple):
    """A point on the path (x_t ``[B, *event]``), its velocity (u_t, same shape) and its time (t ``[B]``)."""

    x_t: Tensor
    u_t: Tensor
    t: Tensor


class Coefficients(NamedTuple):
    """α, σ and their derivatives in t, each ``[B]``."""

    alpha: Tensor
    sigma: Tensor
    alpha_dot: Tensor
    sigma_dot: Tensor


class Path(Registered, abc.ABC):
    """Base class of affine probability paths (Lipman et al. 2023, Albergo et al. 2023)."""

    registry: ClassVar[Registry[Any]] = Registry("path", "flowprior.paths")
    requires_standard_normal: ClassVar[bool] = False
    variance_preserving: ClassVar[bool] = False
    """α² + σ² = 1 at every t, which the noise of stochastic diffusion samplers relies on."""

    @abc.abstractmethod
    def coefficients(self, t: Tensor) -> Coefficients:
        """α(t), σ(t), α'(t), σ'(t) for t ``[B]``."""

    def interpolate(self, x0: Tensor, x1: Tensor, t: Tensor) -> PathSample:
        """The path's point and velocity at time t.

        Args:
            x0: source samples ``[B, *event]``.
            x1: data ``[B, *event]``.
            t: times ``[B]`` in [0, 1].

        Returns:
            x_t and u_t in the wider dtype of x0 and x1, and t.

        Raises:
            InputError: no tensors, or shapes that do not fit.
        """
        check_tensors("interpolate", x0=x0, x1=x1, t=t)
        if x0.shape != x1.shape or t.shape != x1.shape[:1]:
            raise InputError(
                f"interpolate: expected x0 and x1 of one shape [B, *event] and t [B], "
                f"got {list(x0.shape)}, {list(x1.shape)} and {list(t.shape)}"
            )
        return PathSample(*affine_path(x0, x1, self.coefficients(t)), t)

    def check(self, prior: Prior) -> None:
        """Refuse a prior that the path is not valid for.

        Raises:
            OptionError: the path is only valid for N(0, I) and the prior is another one.
        """
        if self.requires_standard_normal and not prior.is_standard_normal:
            raise OptionError(
                f"path '{self.name}' is only valid for a standard normal source, got prior '{prior.name}'; "
                "use the path 'condot', or the prior 'gaussian'"
            )


class Ends(NamedTuple):
    """Source sample x0 and datum x1 of a path, both ``[B, *event]``."""

    x0: Tensor
    x1: Tensor


def velocity_of_source(path: Path, x0: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """u ``[B, *event]`` at x ``[B, *event]`` and t ``[B]`` where x0 (ε) is given or predicted.

    Only for paths with α(0) > 0.
    """
    alpha, sigma, alpha_dot, sigma_dot = _columns(path, x, t)
    return (alpha_dot * x + (alpha * sigma_dot - sigma * alpha_dot) * x0) / alpha


def ends_of_velocity(path: Path, u: Tensor, x: Tensor, t: Tensor) -> Ends:
    """Source sample and datum of the path that passes x ``[B, *event]`` at t ``[B]`` with velocity u."""
    alpha, sigma, alpha_dot, sigma_dot = _columns(path, x, t)
    delta = alpha * sigma_dot - sigma * alpha_dot
    return Ends((alpha * u - alpha_dot * x) / delta, (sigma_dot * x - sigma * u) / delta)


def _columns(path: Path, x: Tensor, t: Tensor) -> Coefficients:
    """The coefficients, each shaped to multiply x."""
    ones = [1] * (x.dim() - 1)
    return Coefficients(*(c.view(-1, *ones).to(x.dtype) for c in path.coefficients(t)))
