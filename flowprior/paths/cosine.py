"""The trigonometric path, of constant squared coefficients."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from flowprior.paths.base import Coefficients, Path


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
