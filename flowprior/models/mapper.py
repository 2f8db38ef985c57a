"""Mapper P_θ: from a condition to the mean of its data (arXiv 2502.09611, section 4.2)."""

from __future__ import annotations

from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.models.embeddings import ConditionEmbedding


class Mapper(nn.Module):
    """A residual MLP from labels or embeddings to one flat event.

    Args:
        condition: kind and size of the condition, labels or embeddings.
        dim: D, numbers in an event.
        hidden: width.
        depth: residual blocks.
    """

    def __init__(self, condition: Condition, dim: int, hidden: int = 256, depth: int = 2) -> None:
        super().__init__()
        self.embed = ConditionEmbedding(condition, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, hidden)
            )
            for _ in range(depth)
        )
        self.out = nn.Linear(hidden, dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, cond: Tensor) -> Tensor:
        """Means ``[B, D]`` of conditions ``[B]`` or ``[B, E]``; zero before training."""
        h = self.embed(cond)
        for block in self.blocks:
            h = h + block(h)
        return self.out(h)
