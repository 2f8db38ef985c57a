"""Straight paths with noise on the way: a Brownian bridge, or noise of one size everywhere."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.paths.base import CondOTPath, Path
from flowprior.registry.options import check_numbers

LEAST = 1e-8
"""The number that is added to 2 t (1 − t), by which the velocity of a bridge is divided, as in torchcfm."""


@Path.register("bridge")
class BridgePath(CondOTPath):
    """Straight path with noise, x_t = t x1 + (1 − t) x0 + s(t) ε and u_t = x1 − x0 + s'(t) ε, ε ~ N(0, I).

    With s² = σ² t (1 − t) it is a Brownian bridge, and with entropic pairs of regularisation 2σ² (``ot``,
    method ``sinkhorn``) SB-CFM (Tong et al. 2023, arXiv 2302.00482, section 3.2.5).

    Args:
        sigma: σ, the size of the noise.
        constant: s = σ everywhere, as the CPD paper trains with σ = 0.01 (and I-CFM, section 3.2.2).
    """

    has_noise: bool = True

    def __init__(self, sigma: float = 0.1, constant: bool = False) -> None:
        super().__init__()
        check_numbers("path 'bridge'", sigma=(sigma, 0, 1e6))
        self.sigma = sigma
        self.constant = constant

    def noise(self, t: Tensor) -> tuple[Tensor, Tensor]:
        if self.constant:
            return torch.full_like(t, self.sigma), torch.zeros_like(t)
        spread = t * (1 - t)
        scale = self.sigma * spread.sqrt()
        return scale, scale * (1 - 2 * t) / (2 * spread + LEAST)
