"""Residual MLP for events without a spatial layout: toys, features, latents, cells."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowprior.conditions import Condition, Conditions
from flowprior.models.base import MODELS
from flowprior.networks.embeddings import TimeConditionEmbedding, zeroed
from flowprior.registry import check_counts


class _Block(nn.Module):
    """x + W2 SiLU(W1 (LayerNorm(x) (1 + scale) + shift)), scale and shift from the embedding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding).chunk(2, dim=1)
        hidden = self.first(self.norm(x) * (1 + scale) + shift)
        return x + self.second(functional.silu(hidden))


@MODELS.register("mlp")
class MLP(nn.Module):
    """Residual MLP, scaled and shifted in every block by time and condition (FiLM, Perez et al. 2018).

    Its output layer starts at zero. Of token states it is told their mean.

    Args:
        event_shape: shape of one event; it is flattened inside.
        condition: kind and size of the condition.
        width: hidden width.
        depth: number of residual blocks.
        inputs: tensors of the event's shape that it sees side by side.
    """

    def __init__(
        self,
        event_shape: torch.Size,
        condition: Condition,
        width: int = 256,
        depth: int = 3,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        check_counts("mlp", width=width, depth=depth, inputs=inputs)
        size = math.prod(event_shape)
        self.event_shape = torch.Size(event_shape)
        self.embedding = TimeConditionEmbedding(condition, width)
        self.input = nn.Linear(inputs * size, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.output = zeroed(nn.Linear(width, size))

    def forward(self, x: Tensor, t: Tensor, cond: Conditions | None = None) -> Tensor:
        """Velocity of x ``[B, *event]`` at times ``[B]`` under the condition, in the dtype of x."""
        embedding = functional.silu(self.embedding(t, cond))
        hidden = self.input(x.flatten(1))
        for block in self.blocks:
            hidden = block(hidden, embedding)
        velocity = self.output(functional.silu(self.norm(hidden)))
        return velocity.view(len(x), *self.event_shape).to(x.dtype)
