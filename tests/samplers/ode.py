"""A nonlinear, time-dependent equation with a known solution, batched."""

from __future__ import annotations

import torch
from torch import Tensor


def velocity(x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
    """x' = −2 (t + ½) x²."""
    return -2.0 * (t.view(-1, *[1] * (x.dim() - 1)) + 0.5) * x.square()


def solution(x0: Tensor, t: float = 1.0) -> Tensor:
    """x(t) = 1 / (1/x0 + (t + ½)² − ¼)."""
    return 1.0 / (1.0 / x0 + (t + 0.5) ** 2 - 0.25)


def source_samples(dtype: torch.dtype = torch.float64) -> Tensor:
    """Seven source samples ``[7, 1]``."""
    return torch.linspace(0.5, 2.0, 7, dtype=dtype)[:, None]
