"""Embeddings of time and condition, alone and together, as the networks take them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition, Conditions, Parts, TokenStates, describe_value
from flowprior.errors import InputError
from flowprior.models.series_embedding import SeriesEmbedding

TIME_SCALE = 1000.0
INTERVAL_SCALE = 20.0
"""Of times in networks of average velocities, whose derivative in time is part of what they learn."""
MAX_PERIOD = 10000.0


def sinusoids(t: Tensor, size: int, scale: float = TIME_SCALE) -> Tensor:
    """cos and sin of ``scale t ω_i``, with ω_i from 1 down to 1/10000 in geometric steps.

    t runs over [0, 1] where the frequencies (Vaswani et al. 2017) were made for steps 0..1000; unscaled,
    nearly all of them would be constant over it.

    Args:
        t: times ``[B]``.
        size: an even number of features.
        scale: of the times.

    Returns:
        ``[B, size]`` in the dtype of ``t``.
    """
    half = size // 2
    steps = torch.arange(half, device=t.device, dtype=t.dtype)
    frequencies = torch.exp(-math.log(MAX_PERIOD) * steps / half)
    angles = scale * t[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class TimeEmbedding(nn.Module):
    """Sinusoids of t through Linear, SiLU, Linear: ``[B] -> [B, hidden]``."""

    def __init__(self, hidden: int, features: int = 128, scale: float = TIME_SCALE) -> None:
        super().__init__()
        self.features = features
        self.scale = scale
        self.first = nn.Linear(features, hidden)
        self.second = nn.Linear(hidden, hidden)

    def forward(self, t: Tensor) -> Tensor:
        features = sinusoids(t.to(self.first.weight.dtype), self.features, self.scale)
        return self.second(nn.functional.silu(self.first(features)))


class ConditionEmbedding(nn.Module):
    """A condition as ``[B, hidden]``: a row of a table for labels, a linear map for embeddings and tensors.

    The table has ``condition.size + 1`` rows, the last for the null label; the null embedding is all
    zeros and becomes the map's bias. Token states are mapped by their mean over the attended tokens. Tensors
    [channels, length] are series (:mod:`flowprior.models.series_embedding`). The embeddings of several parts
    are added up.
    """

    def __init__(self, condition: Condition, hidden: int) -> None:
        super().__init__()
        self.condition = condition
        self.embed: nn.Embedding | nn.Linear | SeriesEmbedding | None = None
        if condition.kind == "labels":
            self.embed = nn.Embedding(condition.size + 1, hidden)
        elif condition.is_series:
            self.embed = SeriesEmbedding(condition.shape, hidden)
        elif condition.kind in ("embeddings", "tensor", "tokens"):
            self.embed = nn.Linear(condition.size, hidden)
        elif condition.kind == "parts":
            self.parts = nn.ModuleList(ConditionEmbedding(part, hidden) for _, part in condition.parts)

    def forward(self, cond: Conditions | None) -> Tensor | None:
        """Embed ``cond``; None for models without a condition.

        Raises:
            InputError: there is no condition, or one of another kind or width.
        """
        if self.condition.kind == "parts":
            return self._sum(cond)
        if self.embed is None:
            return None
        if isinstance(cond, TokenStates) and self.condition.kind == "tokens":
            cond = cond.means()
        labels = self.condition.kind == "labels"
        width = () if labels else self.condition.event_shape
        is_tensor = isinstance(cond, Tensor)
        if is_tensor and isinstance(self.embed, SeriesEmbedding) and cond.dim() == 2:
            width = (self.condition.size,)  # flat, as priors have it
        if not is_tensor or cond.is_floating_point() == labels or cond.shape[1:] != torch.Size(width):
            raise InputError(f"model: expected {self.condition.describe()}, got {describe_value(cond)}")
        if isinstance(self.embed, nn.Linear):
            cond = cond.flatten(1).to(self.embed.weight.dtype)
        return self.embed(cond)

    def _sum(self, cond: Conditions | None) -> Tensor:
        if not isinstance(cond, Parts):
            raise InputError(f"model: expected {self.condition.describe()}, got {describe_value(cond)}")
        embedded = [embed(cond[name]) for embed, name in zip(self.parts, self.condition.names, strict=True)]
        return torch.stack(embedded).sum(0) if len(embedded) > 1 else embedded[0]


class TimeConditionEmbedding(nn.Module):
    """Sum of the time's and the condition's embeddings: (t ``[B]``, cond) -> ``[B, hidden]``.

    Args:
        condition: kind and size of the condition.
        hidden: width of the embeddings.
        interval: whether times may be ``[B, 2]``, beginning and end of an interval; the interval's length is
            embedded, too, by what starts at zero. Times ``[B]`` are intervals of length 0.
    """

    def __init__(self, condition: Condition, hidden: int, interval: bool = False) -> None:
        super().__init__()
        scale = INTERVAL_SCALE if interval else TIME_SCALE
        self.time = TimeEmbedding(hidden, scale=scale)
        self.length = TimeEmbedding(hidden, scale=scale) if interval else None
        if self.length is not None:
            nn.init.zeros_(self.length.second.weight)
            nn.init.zeros_(self.length.second.bias)
        self.condition = ConditionEmbedding(condition, hidden)

    def forward(self, t: Tensor, cond: Conditions | None) -> Tensor:
        begin = t if t.dim() == 1 else t[:, 0]
        embedded = self.time(begin)
        if self.length is not None:
            embedded = embedded + self.length(torch.zeros_like(t) if t.dim() == 1 else t[:, 1] - begin)
        condition = self.condition(cond)
        return embedded if condition is None else embedded + condition
