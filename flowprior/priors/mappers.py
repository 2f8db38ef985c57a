"""The networks that a learned mean can be: which there are, and which suits a condition and its events."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowprior.conditions import Condition
from flowprior.errors import InputError
from flowprior.networks.embeddings import ConditionEmbedding, stretched, zeroed
from flowprior.priors.holdout import Holdout, conditioned
from flowprior.priors.network_training import Mapper, MapperNetwork, NetworkTraining, held_out_errors

AUTO = "auto"
MAPPERS = (AUTO, "mlp", "projector", "unet", "linear")
STRENGTHS = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
"""The candidates of λ of the linear mapper, for each row."""
UNCHOSEN = 1e-2
"""The value of λ where no row is held out to choose by."""
PROJECTOR_SHARE, PICTURE_SHARE, LEAST_CHANNELS = 4, 16, 8
"""The shares of ``hidden`` that the numbers of channels are, and the fewest channels."""
GROUPS = 4
"""The number of groups of channels that are normalised together."""
DOUBLINGS, HALVINGS = 2, 1
"""The number of times that the sides of a grid are doubled on the way, and those of an image halved."""
SQUARE = 2
"""Pixels of a side of the squares that become channels."""
PICTURE = 3
"""Dimensions of a picture [C, H, W]."""


def make_mapper(
    kind: str,
    condition: Condition,
    condition_shape: tuple[int, ...],
    event_shape: torch.Size,
    hidden: int,
    depth: int,
) -> MapperNetwork:
    """A network from rows of a condition to flat events.

    Args:
        kind: one of :data:`MAPPERS`; ``"auto"`` is ``"unet"`` from pictures to pictures, else ``"mlp"``.
        condition: labels, embeddings, as which the numbers of a picture count, or a series.
        condition_shape: of a condition that is a tensor; else empty.
        event_shape: of x1.
        hidden: width.
        depth: residual blocks.

    Raises:
        InputError: a kind that these conditions or events do not fit.
    """
    if kind == AUTO:
        kind = "unet" if len(condition_shape) == len(event_shape) == PICTURE else "mlp"
    if kind == "unet":
        return PictureMapper(condition_shape, event_shape, hidden, depth)
    if kind == "linear":
        if condition.kind == "labels":
            raise InputError(
                "learned-mean.fit: expected embeddings or tensors for mapper='linear', got labels; use 'gmm'"
            )
        return LinearMapper(condition, event_shape.numel())
    if kind == "projector":
        return Projector(condition, event_shape, hidden, depth)
    return Mapper(condition, event_shape.numel(), hidden, depth)


class LinearMapper(MapperNetwork):
    """From embeddings ``[B, E]``, or the last step of series, to one flat event, by ridge regression.

    In closed form (Hoerl & Kennard 1970), from sums that are taken in one pass over the data:

        m(c) = B (c − c̄)/s,   B = argmin Σ ‖x − center − B (c − c̄)/s‖² + λ ‖B‖²

    λ is the strength of least squared error on held-out rows.

    Args:
        condition: embeddings, or a series.
        dim: D, numbers in an event.
    """

    def __init__(self, condition: Condition, dim: int) -> None:
        super().__init__()
        self.shape = condition.shape
        size = self.shape[0] if condition.is_series else condition.size
        self.out = zeroed(nn.Linear(size, dim))
        self.loc = nn.Buffer(torch.zeros(size))
        self.scale = nn.Buffer(torch.ones(size))

    def forward(self, cond: Tensor) -> Tensor:
        """Means ``[B, D]``; zero before the fit."""
        return self.out((self._read(cond).to(self.loc) - self.loc) / self.scale)

    def _read(self, cond: Tensor) -> Tensor:
        return cond.reshape(-1, *self.shape)[:, :, -1] if self.shape else cond.flatten(1)

    @torch.no_grad()
    def fit(
        self,
        data: Holdout,
        center: Tensor,
        options: NetworkTraining | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        """Ridge regression of x − ``center`` on the rows to train on; λ by those held out."""
        _, first = next(conditioned(data.rows(held_out=False)))
        # About the mean of the first batch sums of squares of numbers far from zero lose no digits.
        size, origin = len(self.loc), self._read(first).double().cpu().mean(0)
        products = torch.zeros(size + 1, size + 1, dtype=torch.float64)
        shared = torch.zeros(size + 1, len(center), dtype=torch.float64)
        for x, cond in conditioned(data.rows(held_out=False)):
            with_one = functional.pad(self._read(cond).double().cpu() - origin, (0, 1), value=1.0)
            products += with_one.T @ with_one
            shared += with_one.T @ (x - center).double().cpu()
        products, shared = products / products[-1, -1], shared / products[-1, -1]
        loc, offset = products[-1, :-1], shared[-1]
        covariance = products[:-1, :-1] - torch.outer(loc, loc)
        scale = covariance.diagonal().clamp_min(0).sqrt()
        scale = torch.where(scale > 0, scale, 1.0)
        ridge, along = covariance / torch.outer(scale, scale), shared[:-1] - torch.outer(loc, offset)
        self.loc, self.scale = (loc + origin).to(self.loc), scale.to(self.scale)
        assert self.out.bias is not None
        self.out.bias.copy_(offset)

        def error(strength: float) -> float:
            weight = torch.linalg.solve(ridge + strength * torch.eye(size), along / scale[:, None])
            self.out.weight.copy_(weight.T)
            return float(held_out_errors(self, data, center).mean())

        error(UNCHOSEN if data.is_empty else min(STRENGTHS, key=error))


class Projector(MapperNetwork):
    """From labels or embeddings to one flat event that is a picture [C, H, W].

    The authors' projector is one linear map to a feature map as large as the latents, 64 × 32 × 32, and a
    convolution (arXiv 2502.09611): 34 million weights for embeddings of 512. Here the grid has a quarter of
    the height and width, and is doubled twice on the way, with half the channels each time.

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
        if len(event_shape) != PICTURE:
            raise InputError(
                "learned-mean.fit: expected events [C, H, W] for mapper='projector', got "
                f"{list(event_shape)}; use mapper='mlp'"
            )
        colours, self.height, self.width = event_shape
        channels = max(LEAST_CHANNELS, hidden // PROJECTOR_SHARE) // GROUPS * GROUPS
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
        self.out = zeroed(nn.Conv2d(channels, colours, 3, padding=1))

    def forward(self, cond: Tensor) -> Tensor:
        """Return means ``[B, C·H·W]`` of conditions ``[B]`` or ``[B, E]``; zero before training."""
        h = self.project(functional.silu(self.embed(cond))).view(-1, *self.grid)
        for block in [*self.blocks, *self.grow]:
            h = block(h)
        picture = self.out(functional.silu(self.norm(h)))
        return picture[..., : self.height, : self.width].flatten(1)


class PictureMapper(MapperNetwork):
    """From pictures ``[B, c, h, w]``, flat or not, to one flat event that is a picture [C, H, W].

    Small, for it only has to say where the data of a condition lie on average, and how widely: the mean of a
    super-resolved picture is a smooth function of the low-resolution one, and what is left is for the flow.

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
        channels = max(LEAST_CHANNELS, hidden // PICTURE_SHARE // GROUPS * GROUPS)
        sizes = [channels, *[2 * channels] * HALVINGS]
        self.first = nn.Conv2d(condition_shape[0] * SQUARE**2, channels, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for here, below in itertools.pairwise(sizes):
            self.down.append(nn.ModuleList([_blocks(here, depth), nn.Conv2d(here, below, 3, 2, padding=1)]))
            self.up.append(nn.ModuleList([nn.Conv2d(below + here, here, 3, padding=1), _blocks(here, depth)]))
        self.lowest = _blocks(sizes[-1], depth)
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.out = zeroed(nn.Conv2d(channels, self.colours * SQUARE**2, 3, padding=1))

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


class ResidualConvolution(nn.Module):
    """x + conv(SiLU(norm(x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.convolution(functional.silu(self.norm(x)))


def _blocks(channels: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualConvolution(channels) for _ in range(depth)))
