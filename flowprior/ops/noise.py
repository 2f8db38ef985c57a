"""Standard normal noise from a generator."""

from __future__ import annotations

import torch
from torch import Tensor


def standard_normal(n: int, dim: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """ε ~ N(0, I), ``[n, dim]``, with the dtype and device of ``like``."""
    return torch.randn(n, dim, generator=generator, dtype=like.dtype, device=like.device)
