"""The straight path of conditional optimal transport."""

from __future__ import annotations

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
