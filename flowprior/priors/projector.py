"""Mapper to pictures: an embedding becomes a small grid of features, and convolutions grow it to the picture.

The authors' projector is one linear map to a feature map as large as the latents, 64 × 32 × 32, and a
convolution (arXiv 2502.09611): 34 million weights for embeddings of 512. Here the grid has a quarter of the
height and width, and is doubled twice on the way, with half the channels each time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowprior.conditions import Condition
from flowprior.errors import InputError
from flowprior.models.embeddings import ConditionEmbedding
from flowprior.priors.mapper_training import MapperNetwork

DOUBLINGS = 2
SHARE = 4
"""Channels are ``hidden`` over this."""
LEAST_CHANNELS = 8
GROUPS = 4


class Projector(MapperNetwork):
    """From labels or embeddings to one flat event that is a picture [C, H, W].

    A linear map to ``hidden`` numbers and another to hidden/4 channels (8 at the least) on a grid of
    ⌈H/4⌉ × ⌈W/4⌉; ``depth`` residual convolutions of 3 × 3 there; twice, a doubling of the grid, a
    convolution to half the channels (8 at the least) and a residual one; a last convolution to C channels,
    which starts at zero. The edges beyond H × W are cut off. Embeddings of 384, pictures 3 × 32 × 32,
    ``hidden`` 256 and ``depth`` 2 make 1.3 million weights.

    Args:
        condition: kind and size of the condition, labels or embeddings.
        event_shape: (C, H, W).
        hidden: width of the first layer, and four times the channels.
        depth: residual convolutions on the small grid.

    Raises:
        InputError: events that are not [C, H, W].
    """

    def __init__(
        self, condition: Condition, event_shape: torch.Size, hidden: int = 256, depth: int = 2
    ) -> None:
        super().__init__()
        if len(event_shape) != 3:
            raise InputError(
                "learned-mean.fit: expected events [C, H, W] for mapper='projector', got "
                f"{list(event_shape)}; use mapper='mlp'"
            )
        colours, self.height, self.width = event_shape
        channels = max(LEAST_CHANNELS, hidden // SHARE) // GROUPS * GROUPS
        self.grid = (channels, -(-self.height // 2**DOUBLINGS), -(-self.width // 2**DOUBLINGS))
        self.embed = ConditionEmbedding(condition, hidden)
        self.project = nn.Linear(hidden, self.grid[0] * self.grid[1] * self.grid[2])
        self.blocks = nn.ModuleList(ResidualConvolution(channels) for _ in range(depth))
        self.grow = nn.ModuleList()
        for _ in range(DOUBLINGS):
            fewer = max(LEAST_CHANNELS, channels // 2 // GROUPS * GROUPS)
            change = nn.Conv2d(channels, fewer, 3, padding=1)
            self.grow.append(nn.Sequential(nn.Upsample(scale_factor=2), change, ResidualConvolution(fewer)))
            channels = fewer
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.out = nn.Conv2d(channels, colours, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)

    def forward(self, cond: Tensor) -> Tensor:
        """Means ``[B, C·H·W]`` of conditions ``[B]`` or ``[B, E]``; zero before training."""
        h = self.project(functional.silu(self.embed(cond))).view(-1, *self.grid)
        for block in [*self.blocks, *self.grow]:
            h = block(h)
        picture = self.out(functional.silu(self.norm(h)))
        return picture[..., : self.height, : self.width].flatten(1)


class ResidualConvolution(nn.Module):
    """x + conv(SiLU(norm(x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.convolution(functional.silu(self.norm(x)))
