"""Standard normal nodes of a scrambled Sobol sequence, for means that converge fast."""

from __future__ import annotations

import torch
from torch import Tensor

SEED = 20250211
LARGEST_SOBOL = torch.quasirandom.SobolEngine.MAXDIM


def quasi_normal(n: int, dim: int, like: Tensor) -> Tensor:
    """``n`` nodes ``[n, dim]`` in the dtype and on the device of ``like``; the same ones every time.

    Scrambled Sobol points (Owen 1998) through the inverse of the normal distribution function. Beyond the
    dimensions for which a Sobol sequence is tabulated they are plain pseudo-random numbers.
    """
    if dim > LARGEST_SOBOL or dim == 0:
        nodes = torch.randn(n, dim, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64)
        return nodes.to(like)
    points = torch.quasirandom.SobolEngine(dim, scramble=True, seed=SEED).draw(n, dtype=torch.float64)
    half_step = 2.0**-31
    return torch.special.ndtri(points.clamp(half_step, 1 - half_step)).to(like)
