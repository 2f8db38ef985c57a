"""Time embedding: t in [0, 1] as sines and cosines, then a small MLP."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

TIME_SCALE = 1000.0
MAX_PERIOD = 10000.0


def sinusoids(t: Tensor, size: int) -> Tensor:
    """cos and sin of ``1000 t ω_i``, with ω_i from 1 down to 1/10000 in geometric steps.

    t runs over [0, 1] where the frequencies (Vaswani et al. 2017) were made for steps 0..1000; unscaled,
    nearly all of them would be constant over it.

    Args:
        t: times ``[B]``.
        size: an even number of features.

    Returns:
        ``[B, size]`` in the dtype of ``t``.
    """
    half = size // 2
    steps = torch.arange(half, device=t.device, dtype=t.dtype)
    frequencies = torch.exp(-math.log(MAX_PERIOD) * steps / half)
    angles = TIME_SCALE * t[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class TimeEmbedding(nn.Module):
    """Sinusoids of t through Linear, SiLU, Linear: ``[B] -> [B, hidden]``."""

    def __init__(self, hidden: int, features: int = 128) -> None:
        super().__init__()
        self.features = features
        self.first = nn.Linear(features, hidden)
        self.second = nn.Linear(hidden, hidden)

    def forward(self, t: Tensor) -> Tensor:
        features = sinusoids(t.to(self.first.weight.dtype), self.features)
        return self.second(nn.functional.silu(self.first(features)))
