"""Mapper from a picture to a picture: stretched to the event's size, the condition goes through a U-Net.

Small, for it only has to say where the data of a condition lie on average, and how widely: the mean of a
super-resolved picture is a smooth function of the low-resolution one, and what is left is for the flow.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowprior.errors import InputError
from flowprior.models.condition_pictures import stretched
from flowprior.priors.mapper_training import MapperNetwork
from flowprior.priors.projector import GROUPS, ResidualConvolution

SHARE = 16
"""Channels are ``hidden`` over this."""
LEAST_CHANNELS = 8
SQUARE = 2
"""Pixels of a side of the squares that become channels."""
HALVINGS = 1
PICTURE = 3
"""Dimensions of a picture [C, H, W]."""


class PictureMapper(MapperNetwork):
    """From pictures ``[B, c, h, w]``, flat or not, to one flat event that is a picture [C, H, W].

    The condition is stretched to H × W (bilinear), its squares of 2 × 2 pixels become channels, and a
    convolution makes hidden/16 of them (8 at the least). ``depth`` residual convolutions of 3 × 3 follow at
    this size, and at half of it with twice the channels; back, joined with what was there on the way down; a
    last convolution, which starts at zero, and pixels again. Edges are padded to multiples of four and cut
    off again. For pictures 1 × 28 × 28, ``hidden`` 256 and ``depth`` 1 these are 27,000 weights.

    Args:
        condition_shape: (c, h, w).
        event_shape: (C, H, W).
        hidden: sixteen times the channels.
        depth: residual convolutions at each size, on each side.

    Raises:
        InputError: conditions or events that are not [C, H, W].
    """

    by_steps = True

    def __init__(
        self, condition_shape: Sequence[int], event_shape: Sequence[int], hidden: int = 256, depth: int = 1
    ) -> None:
        super().__init__()
        if len(condition_shape) != PICTURE or len(event_shape) != PICTURE:
            raise InputError(
                "learned-mean.fit: expected conditions and events [C, H, W] for mapper='unet', got "
                f"{list(condition_shape)} and {list(event_shape)}; use mapper='mlp'"
            )
        self.condition_shape = tuple(condition_shape)
        self.colours, self.height, self.width = event_shape
        channels = max(LEAST_CHANNELS, hidden // SHARE // GROUPS * GROUPS)
        sizes = [channels, *[2 * channels] * HALVINGS]
        self.first = nn.Conv2d(condition_shape[0] * SQUARE**2, channels, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for here, below in itertools.pairwise(sizes):
            self.down.append(nn.ModuleList([_blocks(here, depth), nn.Conv2d(here, below, 3, 2, padding=1)]))
            self.up.append(nn.ModuleList([nn.Conv2d(below + here, here, 3, padding=1), _blocks(here, depth)]))
        self.lowest = _blocks(sizes[-1], depth)
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.out = nn.Conv2d(channels, self.colours * SQUARE**2, 3, padding=1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, cond: Tensor) -> Tensor:
        """Means ``[B, C·H·W]`` of conditions ``[B, c·h·w]`` or ``[B, c, h, w]``; zero before training."""
        if not len(cond):
            return cond.new_zeros(0, self.colours * self.height * self.width)
        picture = cond.reshape(-1, *self.condition_shape).to(self.first.weight)
        picture = stretched(picture, (self.height, self.width))
        multiple = SQUARE * 2**HALVINGS
        picture = functional.pad(picture, (0, -self.width % multiple, 0, -self.height % multiple))
        squares = functional.pixel_unshuffle(picture, SQUARE)
        h, skips = self.first(squares.contiguous(memory_format=torch.channels_last)), []
        for blocks, halve in self.down:  # pyright: ignore[reportGeneralTypeIssues]
            h = blocks(h)
            skips.append(h)
            h = halve(h)
        h = self.lowest(h)
        for join, blocks in reversed(self.up):  # pyright: ignore[reportGeneralTypeIssues, reportArgumentType]
            h = functional.interpolate(h, scale_factor=2.0, mode="nearest")
            h = blocks(join(torch.cat([h, skips.pop()], 1)))
        found = functional.pixel_shuffle(self.out(functional.silu(self.norm(h))), SQUARE)
        return found[..., : self.height, : self.width].flatten(1)


def _blocks(channels: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualConvolution(channels) for _ in range(depth)))
