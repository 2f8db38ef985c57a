"""The affine paths: the straight path of optimal transport, the cosine path, and the diffusion path."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from flowprior.errors import OptionError
from flowprior.ops import interpolate
from flowprior.paths.base import Coefficients, Path, PathSample


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

    def interpolate(self, x0: Tensor, x1: Tensor, t: Tensor) -> PathSample:
        return PathSample(*interpolate(x0, x1, t, self.sigma_min), t)


@Path.register("cosine")
class CosinePath(Path):
    """Trigonometric path α = sin(πt/2), σ = cos(πt/2) (Albergo & Vanden-Eijnden 2023).

    α² + σ² = 1: source and data of equal covariance keep it along the whole way.
    """

    variance_preserving: ClassVar[bool] = True

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

    requires_standard_normal: ClassVar[bool] = True
    variance_preserving: ClassVar[bool] = True

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

    def _at(self, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """α, σ and the noise rate β at diffusion time s."""
        spread = self.beta_max - self.beta_min
        integral = self.beta_min * s + 0.5 * spread * s.square()
        return torch.exp(-0.5 * integral), torch.sqrt(-torch.expm1(-integral)), self.beta_min + spread * s
