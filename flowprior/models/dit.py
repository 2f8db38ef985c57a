"""Diffusion transformer for pictures and other events [channels, height, width] (Peebles & Xie 2023).

Patches of the event are rows of a transformer. Its blocks are scaled, shifted and gated by time and condition
(adaLN-Zero, section 3.2), so that each of them starts as the identity; where the condition has token states,
every block attends to them between its two halves (Chen et al. 2024, PixArt-α, section 2.3). Positions are
fixed sines and cosines of row and column.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowprior.conditions import Condition, Conditions, TokenStates
from flowprior.errors import InputError, OptionError
from flowprior.models.base import MODELS, check_picture
from flowprior.models.tokens import CrossAttention, TokenContext
from flowprior.networks.embeddings import MAX_PERIOD, TimeConditionEmbedding, zeroed
from flowprior.registry import check_counts

EXPANSION = 4
"""Hidden width of a block's perceptron over the width of its rows."""


class _Block(nn.Module):
    """Self-attention, attention to token states, perceptron; each is added to its input.

    The first and the last are scaled, shifted and gated by the embedding, the gates start at zero.
    """

    def __init__(self, width: int, heads: int, tokens: bool) -> None:
        super().__init__()
        self.heads = heads
        self.modulation = zeroed(nn.Linear(width, 6 * width))
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.norm_tokens = nn.LayerNorm(width) if tokens else None
        self.tokens = CrossAttention(width, width, heads) if tokens else None
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.first = nn.Linear(width, EXPANSION * width)
        self.second = nn.Linear(EXPANSION * width, width)

    def forward(self, x: Tensor, embedding: Tensor, context: TokenStates | None) -> Tensor:
        parts = self.modulation(embedding)[:, None].chunk(6, dim=2)
        x = x + parts[2] * self._attend(self.norm1(x) * (1 + parts[0]) + parts[1])
        if self.tokens is not None and self.norm_tokens is not None and context is not None:
            x = x + self.tokens(self.norm_tokens(x), context)
        hidden = self.first(self.norm2(x) * (1 + parts[3]) + parts[4])
        return x + parts[5] * self.second(functional.gelu(hidden, approximate="tanh"))

    def _attend(self, x: Tensor) -> Tensor:
        batch, count, width = x.shape
        q, k, v = self.qkv(x).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.projection(mixed.transpose(1, 2).reshape(batch, count, width))


@MODELS.register("dit")
class DiT(nn.Module):
    """Small diffusion transformer for events [C, H, W], conditioned on time, condition and token states.

    Its output layer starts at zero. Sizes that ``patch`` does not divide are padded at the far edges and
    cropped back.

    Args:
        event_shape: (channels, height, width).
        condition: kind and size of the condition.
        patch: side of the squares that are rows of the transformer.
        width: numbers in a row; a multiple of 4 that ``heads`` divides.
        depth: number of blocks.
        heads: of all attention.
        inputs: tensors of the event's shape that it sees side by side, along their channels.
    """

    positions: Tensor

    def __init__(
        self,
        event_shape: torch.Size,
        condition: Condition,
        patch: int = 4,
        width: int = 128,
        depth: int = 6,
        heads: int = 4,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        check_picture("dit", event_shape)
        check_counts("dit", patch=patch, width=width, depth=depth, heads=heads, inputs=inputs)
        if width % heads or width % 4:
            raise OptionError(
                f"dit: width={width} is not possible; choose a multiple of 4 and of heads={heads}"
            )
        channels, *sides = event_shape
        self.patch = patch
        self.event_shape = torch.Size(event_shape)
        self.grid = (-(-sides[0] // patch), -(-sides[1] // patch))
        tokens = bool(condition.token_widths)
        self.embedding = TimeConditionEmbedding(condition, width)
        self.context = TokenContext(condition, width) if tokens else None
        self.input = nn.Linear(inputs * channels * patch**2, width)
        self.register_buffer("positions", grid_positions(*self.grid, width), persistent=False)
        self.blocks = nn.ModuleList(_Block(width, heads, tokens) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = zeroed(nn.Linear(width, 2 * width))
        self.output = zeroed(nn.Linear(width, channels * patch**2))

    def forward(self, x: Tensor, t: Tensor, cond: Conditions | None = None) -> Tensor:
        """Velocity of x ``[B, C, H, W]`` at times ``[B]`` under the condition, in the dtype of x.

        Raises:
            InputError: x of another height or width, or a condition that does not fit.
        """
        if x.shape[2:] != self.event_shape[1:]:
            size = ", ".join(map(str, self.event_shape[1:]))
            raise InputError(f"dit: expected x [B, C, {size}], got {list(x.shape)}")
        embedding = functional.silu(self.embedding(t, cond))
        context = None if self.context is None else self.context(cond)
        rows = self.input(self._rows(x)) + self.positions
        for block in self.blocks:
            rows = block(rows, embedding, context)
        scale, shift = self.modulation(embedding)[:, None].chunk(2, dim=2)
        return self._events(self.output(self.norm(rows) * (1 + scale) + shift)).to(x.dtype)

    def _rows(self, x: Tensor) -> Tensor:
        """Return the patches ``[B, N, C·patch²]`` of x, row by row."""
        right, bottom = -x.shape[3] % self.patch, -x.shape[2] % self.patch
        folded = functional.pixel_unshuffle(functional.pad(x, (0, right, 0, bottom)), self.patch)
        return folded.flatten(2).transpose(1, 2).contiguous()

    def _events(self, rows: Tensor) -> Tensor:
        folded = rows.transpose(1, 2).unflatten(2, self.grid)
        height, width = self.event_shape[1:]
        return functional.pixel_shuffle(folded, self.patch)[..., :height, :width].contiguous()


def grid_positions(height: int, width: int, size: int) -> Tensor:
    """Sines and cosines ``[height·width, size]`` of row and column, as Vaswani et al. (2017) have of one."""
    quarter = size // 4
    frequencies = MAX_PERIOD ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    angles = [place.reshape(-1, 1).double() * frequencies for place in (rows, columns)]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], 1).float()
