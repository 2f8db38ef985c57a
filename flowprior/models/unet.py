"""Compact U-Net for pictures and other events [channels, height, width].

Pixels are folded into channels first (pixel-unshuffle), so that a small network sees few positions.
Blocks are pre-activation residual blocks with scale and shift from time and condition (Dhariwal &
Nichol 2021, "adaptive group normalisation"); only the lowest resolution attends to itself. Where the
condition has token states, the lowest resolutions attend to them (Rombach et al. 2022, section 3.3). Pictures
of a condition are further channels of the input (Saharia et al. 2021, arXiv 2104.07636, section 2.3).
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowprior.conditions import Condition, Conditions, TokenStates
from flowprior.errors import InputError, OptionError
from flowprior.models.base import MODELS, check_picture, parse_widths
from flowprior.models.tokens import CrossAttention, TokenContext
from flowprior.networks.embeddings import ConditionPictures, TimeConditionEmbedding, zeroed
from flowprior.registry import check_counts

ATTENDING = 2
"""The number of the lowest resolutions that attend to token states."""


class ResidualBlock(nn.Module):
    """skip(x) + conv2(SiLU(norm2(conv1(SiLU(norm1(x)))) (1 + scale) + shift)); conv2 starts at zero."""

    def __init__(self, channels_in: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = _group_norm(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.modulation = nn.Linear(hidden, 2 * channels)
        self.norm2 = _group_norm(channels)
        self.conv2 = zeroed(nn.Conv2d(channels, channels, 3, padding=1))
        self.skip = nn.Identity() if channels_in == channels else nn.Conv2d(channels_in, channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        hidden = self.norm2(self.conv1(functional.silu(self.norm1(x))))
        return self.skip(x) + self.conv2(functional.silu(hidden * (1 + scale) + shift))


class SelfAttention(nn.Module):
    """Multi-head attention between all positions, added to its input; the projection starts at zero."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = _group_norm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.projection = zeroed(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        rows = self.norm(x).permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        q, k, v = self.qkv(rows).view(batch, height * width, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(rows.shape)
        return x + self.projection(mixed).view(batch, height, width, channels).permute(0, 3, 1, 2)


class TokenAttention(nn.Module):
    """Attention from all positions to token states, added to its input; the projection starts at zero."""

    def __init__(self, channels: int, context: int, heads: int) -> None:
        super().__init__()
        self.norm = _group_norm(channels)
        self.attention = CrossAttention(channels, context, heads)

    def forward(self, x: Tensor, context: TokenStates) -> Tensor:
        batch, channels, height, width = x.shape
        rows = self.norm(x).permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        return x + self.attention(rows, context).view(batch, height, width, channels).permute(0, 3, 1, 2)


class _Encoder(nn.Module):
    """Residual blocks of one resolution, then half of it; returns the skips and the smaller map."""

    def __init__(
        self, channels: int, channels_below: int, blocks: int, hidden: int, tokens: TokenAttention | None
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(channels, channels, hidden) for _ in range(blocks))
        self.tokens = tokens
        self.down = nn.Conv2d(channels, channels_below, 3, stride=2, padding=1)

    def forward(self, x: Tensor, embedding: Tensor, context: TokenStates | None) -> tuple[Tensor, Tensor]:
        for block in self.blocks:
            x = block(x, embedding)
        x = _attended(self.tokens, x, context)
        return x, self.down(x)


class _Decoder(nn.Module):
    """Twice the resolution, joined with the encoder's skip, then residual blocks."""

    def __init__(
        self, channels: int, channels_below: int, blocks: int, hidden: int, tokens: TokenAttention | None
    ) -> None:
        super().__init__()
        self.up = nn.Conv2d(channels_below, channels, 3, padding=1)
        sizes = [2 * channels] + [channels] * (blocks - 1)
        self.blocks = nn.ModuleList(ResidualBlock(size, channels, hidden) for size in sizes)
        self.tokens = tokens

    def forward(self, x: Tensor, skip: Tensor, embedding: Tensor, context: TokenStates | None) -> Tensor:
        x = torch.cat([self.up(functional.interpolate(x, scale_factor=2.0, mode="nearest")), skip], dim=1)
        for block in self.blocks:
            x = block(x, embedding)
        return _attended(self.tokens, x, context)


class _Bottleneck(nn.Module):
    """Residual blocks around self-attention at the lowest resolution."""

    def __init__(
        self, channels: int, blocks: int, heads: int, hidden: int, tokens: TokenAttention | None
    ) -> None:
        super().__init__()
        self.before = nn.ModuleList(ResidualBlock(channels, channels, hidden) for _ in range(blocks))
        self.attention = SelfAttention(channels, heads)
        self.after = nn.ModuleList(ResidualBlock(channels, channels, hidden) for _ in range(blocks))
        self.tokens = tokens

    def forward(self, x: Tensor, embedding: Tensor, context: TokenStates | None) -> Tensor:
        for block in self.before:
            x = block(x, embedding)
        x = _attended(self.tokens, self.attention(x), context)
        for block in self.after:
            x = block(x, embedding)
        return x


def _attended(tokens: TokenAttention | None, x: Tensor, context: TokenStates | None) -> Tensor:
    return x if tokens is None or context is None else tokens(x, context)


@MODELS.register("unet")
class UNet(nn.Module):
    """Compact U-Net for events [C, H, W] of any size, conditioned on time and condition.

    Its output layer starts at zero. Sizes that ``patch`` and the levels do not divide are padded at the
    far edges and cropped back.

    Args:
        event_shape: (channels, height, width).
        condition: kind and size of the condition; its pictures are stretched to the event's size.
        widths: channels of each resolution, from the highest to the lowest: ``"64-128"`` or a sequence.
        blocks: residual blocks of each resolution on each side.
        patch: side of the pixel squares folded into channels; 1 for none.
        heads: heads of the self-attention at the lowest resolution, and of the attention to token states.
        inputs: tensors of the event's shape that it sees side by side, along their channels.
    """

    def __init__(
        self,
        event_shape: torch.Size,
        condition: Condition,
        widths: str | int | tuple[int, ...] = "64-128",
        blocks: int = 1,
        patch: int = 2,
        heads: int = 2,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        levels = parse_widths(widths, "unet")
        check_counts("unet", blocks=blocks, patch=patch, heads=heads, inputs=inputs)
        check_picture("unet", event_shape)
        attending = levels[-ATTENDING:] if condition.token_widths else ()
        if undivided := [width for width in {*attending, levels[-1]} if width % heads]:
            raise OptionError(
                f"unet: heads={heads} does not divide the width {undivided[0]}, where positions attend; "
                "change widths or heads"
            )
        hidden = 2 * levels[0]
        self.patch = patch
        self.multiple = patch * 2 ** (len(levels) - 1)
        self.pictures = ConditionPictures(condition)
        self.embedding = TimeConditionEmbedding(self.pictures.left, hidden)
        self.context = TokenContext(condition, hidden) if attending else None
        folded = event_shape[0] * patch**2
        beside = self.pictures.channels * patch**2
        self.condition_inputs = beside
        self.input = nn.Conv2d(inputs * folded + beside, levels[0], 3, padding=1)
        pairs = list(itertools.pairwise(levels))
        lowest = len(levels) - len(attending)

        def tokens(level: int) -> TokenAttention | None:
            return TokenAttention(levels[level], hidden, heads) if level >= lowest else None

        self.encoders = nn.ModuleList(
            _Encoder(here, below, blocks, hidden, tokens(level)) for level, (here, below) in enumerate(pairs)
        )
        self.bottleneck = _Bottleneck(levels[-1], blocks, heads, hidden, tokens(len(pairs)))
        self.decoders = nn.ModuleList(
            _Decoder(here, below, blocks, hidden, tokens(level))
            for level, (here, below) in reversed(list(enumerate(pairs)))
        )
        self.norm = _group_norm(levels[0])
        self.output = zeroed(nn.Conv2d(levels[0], folded, 3, padding=1))
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, x: Tensor, t: Tensor, cond: Conditions | None = None) -> Tensor:
        """Velocity of x ``[B, C, H, W]`` at times ``[B]`` under the condition, in the dtype of x."""
        if x.dim() != 4:
            raise InputError(f"unet: expected x [B, C, H, W], got {list(x.shape)}")
        embedding = functional.silu(self.embedding(t, self.pictures.rest(cond)))
        context = None if self.context is None else self.context(cond)
        folded = self.pictures.beside(x, cond)
        right, bottom = -x.shape[3] % self.multiple, -x.shape[2] % self.multiple
        if right or bottom:
            folded = functional.pad(folded, (0, right, 0, bottom))
        folded = functional.pixel_unshuffle(folded, self.patch)
        hidden = self.input(folded.contiguous(memory_format=torch.channels_last))
        skips = []
        for encoder in self.encoders:
            skip, hidden = encoder(hidden, embedding, context)
            skips.append(skip)
        hidden = self.bottleneck(hidden, embedding, context)
        for decoder in self.decoders:
            hidden = decoder(hidden, skips.pop(), embedding, context)
        velocity = functional.pixel_shuffle(self.output(functional.silu(self.norm(hidden))), self.patch)
        return velocity[..., : x.shape[2], : x.shape[3]].to(x.dtype).contiguous()


def _group_norm(channels: int) -> nn.GroupNorm:
    """Groups of 16 channels where that divides them: what PyTorch's CPU kernel does 10 times faster."""
    return nn.GroupNorm(channels // math.gcd(channels, 16), channels)
