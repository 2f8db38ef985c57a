"""Embedding of the condition, alone and together with the time, as the networks take it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.errors import InputError
from flowprior.models.time_embedding import TimeEmbedding


class ConditionEmbedding(nn.Module):
    """A condition as ``[B, hidden]``: a row of a table for labels, a linear map for embeddings.

    The table has ``condition.size + 1`` rows, the last for the null label; the null embedding is all
    zeros and becomes the map's bias.
    """

    def __init__(self, condition: Condition, hidden: int) -> None:
        super().__init__()
        self.condition = condition
        self.embed: nn.Embedding | nn.Linear | None = None
        if condition.kind == "labels":
            self.embed = nn.Embedding(condition.size + 1, hidden)
        elif condition.kind == "embeddings":
            self.embed = nn.Linear(condition.size, hidden)

    def forward(self, cond: Tensor | None) -> Tensor | None:
        """Embed ``cond``; None for models without a condition.

        Raises:
            InputError: there is no condition, or one of another kind or width.
        """
        if self.embed is None:
            return None
        labels = self.condition.kind == "labels"
        width = () if labels else (self.condition.size,)
        if cond is None or cond.is_floating_point() == labels or cond.shape[1:] != torch.Size(width):
            got = "None" if cond is None else f"{cond.dtype} {list(cond.shape)}"
            raise InputError(f"model: expected {self.condition.describe()}, got {got}")
        return self.embed(cond if labels else cond.to(self.embed.weight.dtype))


class TimeConditionEmbedding(nn.Module):
    """Sum of the time's and the condition's embeddings: (t ``[B]``, cond) -> ``[B, hidden]``."""

    def __init__(self, condition: Condition, hidden: int) -> None:
        super().__init__()
        self.time = TimeEmbedding(hidden)
        self.condition = ConditionEmbedding(condition, hidden)

    def forward(self, t: Tensor, cond: Tensor | None) -> Tensor:
        embedded = self.condition(cond)
        return self.time(t) if embedded is None else self.time(t) + embedded
