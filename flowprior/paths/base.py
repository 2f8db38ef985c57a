"""Path: x_t = α(t) x1 + σ(t) x0 and its velocity u_t = α'(t) x1 + σ'(t) x0; what a network predicts on it.

On x = α x1 + σ x0 with velocity u = α' x1 + σ' x0, any one of x0, x1 and u gives the other two. With
Δ = α σ' − σ α':

    x0 = (α u − α' x) / Δ        x1 = (σ' x − σ u) / Δ        u = (α' x + Δ x0) / α

All three are linear, so the same holds of their means given x, which is what a network learns. Between
N(0, I) and the data x0 is the noise ε, and its prediction is the objective of DDPM (Ho et al. 2020, eq. 14).

A network may predict the ``residual``, which is u less the linear velocity of the law of the pairs
(:mod:`flowprior.couplings.pair_law`), or that in units of its own standard deviation
(:mod:`flowprior.flow.predictions`).

Three paths are registered: the straight path of optimal transport, the cosine path, and the diffusion path.
"""

from __future__ import annotations

import abc
import math
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from flowprior.errors import InputError, OptionError
from flowprior.ops.operators import check_tensors, normal
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


class PathTime(NamedTuple):
    """A time of the path for each row, and α, σ and their derivatives there, each ``[B]``."""

    t: Tensor
    alpha: Tensor
    sigma: Tensor
    alpha_dot: Tensor
    sigma_dot: Tensor


class Path(Registered, abc.ABC):
    """Base class of affine probability paths (Lipman et al. 2023, Albergo et al. 2023)."""

    registry: ClassVar[Registry[Any]] = Registry("path", "flowprior.paths")
    has_noise: bool = False
    """True if there is noise on the way, so that point and velocity do not determine x0 and x1."""

    @abc.abstractmethod
    def coefficients(self, t: Tensor) -> Coefficients:
        """α(t), σ(t), α'(t), σ'(t) for t ``[B]``."""

    def at(self, t: Tensor) -> PathTime:
        """Return times ``[B]`` with the coefficients there, at least in float32."""
        t = t.to(torch.promote_types(t.dtype, torch.float32))
        return PathTime(t, *self.coefficients(t))

    def noise(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scale of the noise at times ``[B]`` and its derivative in t, ``[B]`` each."""
        return torch.zeros_like(t), torch.zeros_like(t)

    def interpolate(
        self, x0: Tensor, x1: Tensor, t: Tensor, *, generator: torch.Generator | None = None
    ) -> PathSample:
        """Return the path's point and velocity at time t.

        Args:
            x0: source samples ``[B, *event]``.
            x1: data ``[B, *event]``.
            t: times ``[B]`` in [0, 1].
            generator: of the noise, where :attr:`has_noise`.

        Returns:
            x_t and u_t in the wider dtype of x0 and x1, and t.

        Raises:
            InputError: no floating-point tensors, or shapes that do not fit.
        """
        check_tensors("interpolate", x0=x0, x1=x1, t=t)
        dtype = torch.promote_types(x0.dtype, x1.dtype)
        if x0.shape != x1.shape or x1.dim() == 0 or t.shape != x1.shape[:1] or not dtype.is_floating_point:
            raise InputError(
                f"interpolate: expected floating-point x0 and x1 of one shape [B, *event] and t [B], "
                f"got {x0.dtype} {list(x0.shape)}, {x1.dtype} {list(x1.shape)} and {list(t.shape)}"
            )
        x_t, u_t = self._point(x0, x1, t)
        if self.has_noise:
            epsilon = normal(*x1.shape, like=x_t, generator=generator)
            scale, change = (_column(part, x1) for part in self.noise(t))
            x_t, u_t = torch.addcmul(x_t, scale, epsilon), torch.addcmul(u_t, change, epsilon)
        return PathSample(x_t.to(dtype), u_t.to(dtype), t)

    def _point(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return x_t and u_t, in the widest dtype of all."""
        alpha, sigma, alpha_dot, sigma_dot = (_column(part, x1) for part in self.coefficients(t))
        return torch.addcmul(sigma * x0, alpha, x1), torch.addcmul(sigma_dot * x0, alpha_dot, x1)

    def check(self, prior: Prior) -> None:
        """Raise OptionError if the path is not valid for this prior."""

    def require_no_noise(self, what: str) -> None:
        """Refuse a path with noise on the way; ``what`` takes x0 and x1 from point and velocity.

        Raises:
            OptionError: it says what to use instead.
        """
        if self.has_noise:
            raise OptionError(
                f"{what} needs a path without noise on the way, got '{self.name}'; use the path 'condot', or "
                "prediction 'velocity' and a sampler such as 'euler'"
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
    """Return the coefficients, each shaped to multiply x."""
    return Coefficients(*(_column(part, x).to(x.dtype) for part in path.coefficients(t)))


def _column(values: Tensor, x: Tensor) -> Tensor:
    """Return values ``[B]`` shaped to multiply x ``[B, *event]``."""
    return values.reshape(-1, *[1] * (x.dim() - 1))


@Path.register("condot")
class CondOTPath(Path):
    """Straight path x_t = t x1 + (1 − (1 − σ_min) t) x0 (Lipman et al. 2023, eq. 22).

    Args:
        sigma_min: share of the source sample that is left at t = 1; in [0, 1).
    """

    def __init__(self, sigma_min: float = 0.0) -> None:
        if not 0.0 <= sigma_min < 1.0:
            raise OptionError(f"path 'condot': sigma_min={sigma_min} is not possible; choose it in [0, 1)")
        self.sigma_min = sigma_min

    def coefficients(self, t: Tensor) -> Coefficients:
        slope = 1.0 - self.sigma_min
        return Coefficients(t, 1.0 - slope * t, torch.ones_like(t), torch.full_like(t, -slope))

    def _point(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        velocity = torch.sub(x1, x0, alpha=1.0 - self.sigma_min)
        return torch.addcmul(x0, _column(t, x1), velocity), velocity


@Path.register("cosine")
class CosinePath(Path):
    """Trigonometric path α = sin(πt/2), σ = cos(πt/2) (Albergo & Vanden-Eijnden 2023).

    α² + σ² = 1: source and data of equal covariance keep it along the whole way.
    """

    def coefficients(self, t: Tensor) -> Coefficients:
        half_pi = math.pi / 2
        sine, cosine = torch.sin(half_pi * t), torch.cos(half_pi * t)
        return Coefficients(sine, cosine, half_pi * cosine, -half_pi * sine)


NEAREST_TO_DATA = 1e-5
"""Least diffusion time at which σ' is taken: it grows like 1/√s as s = 1 − t goes to 0."""


@Path.register("vp")
class VPPath(Path):
    """Variance-preserving diffusion path (Song et al. 2021; Lipman et al. 2023, eq. 19), N(0, I) only.

    With diffusion time s = 1 − t, T(s) = β_min s + ½ (β_max − β_min) s²: α = exp(−½ T), σ = √(1 − α²).
    At t = 0 a trace α(0) = exp(−½ T(1)) of the datum is left (0.0066 by default), so a standard
    normal source is right only up to it.

    Args:
        beta_min: noise rate at the data.
        beta_max: noise rate at the source.
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0) -> None:
        if not 0.0 < beta_min <= beta_max:
            raise OptionError(
                f"path 'vp': beta_min={beta_min}, beta_max={beta_max} is not possible; "
                "choose 0 < beta_min <= beta_max"
            )
        self.beta_min = beta_min
        self.beta_max = beta_max

    def coefficients(self, t: Tensor) -> Coefficients:
        alpha, sigma, _ = self._at(1.0 - t)
        alpha_in, sigma_in, rate = self._at((1.0 - t).clamp_min(NEAREST_TO_DATA))
        alpha_dot = 0.5 * rate * alpha_in
        return Coefficients(alpha, sigma, alpha_dot, -alpha_in * alpha_dot / sigma_in)

    def check(self, prior: Prior) -> None:
        """Refuse a prior other than N(0, I).

        Raises:
            OptionError: it is another one.
        """
        if not prior.is_standard_normal:
            raise OptionError(
                f"path '{self.name}' is only valid for a standard normal source, got prior '{prior.name}'; "
                "use the path 'condot', or the prior 'gaussian'"
            )

    def _at(self, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """α, σ and the noise rate β at diffusion time s."""
        spread = self.beta_max - self.beta_min
        integral = self.beta_min * s + 0.5 * spread * s.square()
        return torch.exp(-0.5 * integral), torch.sqrt(-torch.expm1(-integral)), self.beta_min + spread * s
