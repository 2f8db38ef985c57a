"""The encoder and decoder of a small conditional variational autoencoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowprior.conditions import Condition
from flowprior.networks.embeddings import ConditionEmbedding, zeroed

SMALLEST_PICTURE = 8
"""The least side of an image, in pixels, for which the network has convolutions."""
HIDDEN_PER_WIDTH = 8
LOG_VARIANCE_BOUND = 12.0
"""The largest absolute log-variance of the posterior."""
SOBOL_SEED = 20250211
"""The seed of the scrambled Sobol sequence."""
LARGEST_SOBOL = torch.quasirandom.SobolEngine.MAXDIM
"""The largest dimension of a Sobol sequence in torch."""


class Trunk(nn.Module):
    """The layer SiLU(Linear(x) + embedding of the condition), ``[B, hidden]``."""

    def __init__(self, condition: Condition, features: int, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, hidden)
        self.embed = ConditionEmbedding(condition, hidden)

    def forward(self, x: Tensor, cond: Tensor | None) -> Tensor:
        hidden, embedded = self.linear(x), self.embed(cond)
        return functional.silu(hidden if embedded is None else hidden + embedded)


class VaeNetwork(nn.Module):
    """The encoder q(z | x, c), a diagonal Gaussian, and the decoder to the mean of x, about given centres.

    Events ``[channels, height, width]`` of at least 8 × 8 pass two strided convolutions and come back through
    a transposed pair that ends in a pixel shuffle (Shi et al. 2016); everything else is flat. Sides that 4
    does not divide are padded at the far edges and cropped back. The decoder's last layer starts at zero.

    Attributes:
        log_noise: logarithm of the decoder's variances before their bound, ``[D]``.

    Args:
        event_shape: the shape of one data sample.
        condition: kind and size of the condition.
        latent: numbers in z.
        width: channels of the first convolution; hidden layers are eight times as wide.
    """

    def __init__(self, event_shape: torch.Size, condition: Condition, latent: int, width: int) -> None:
        super().__init__()
        self.event_shape = event_shape
        self.is_picture = len(event_shape) == 3 and min(event_shape[1:]) >= SMALLEST_PICTURE
        hidden = HIDDEN_PER_WIDTH * width
        if self.is_picture:
            self.down, self.up, features = _convolutions(event_shape, width)
        else:
            features = math.prod(event_shape)
            self.down = nn.Sequential(nn.Linear(features, hidden), nn.SiLU())
            self.up = nn.Sequential(nn.SiLU(), nn.Linear(hidden, features))
        self.encoder = Trunk(condition, features if self.is_picture else hidden, hidden)
        self.posterior = nn.Linear(hidden, 2 * latent)
        self.decoder = Trunk(condition, latent, hidden)
        self.unfold = nn.Linear(hidden, features if self.is_picture else hidden)
        zeroed([layer for layer in self.up if isinstance(layer, nn.Linear | nn.Conv2d)][-1])
        self.log_noise = nn.Parameter(torch.zeros(math.prod(event_shape)))

    def encode(self, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance ``[B, latent]`` of q(z | x, c) for centred rows x ``[B, D]``."""
        if self.is_picture:
            _, height, width = self.event_shape
            x = functional.pad(x.view(len(x), *self.event_shape), (0, -width % 4, 0, -height % 4))
        mean, log_variance = self.posterior(self.encoder(self.down(x).flatten(1), cond)).chunk(2, 1)
        return mean, log_variance.clamp(-LOG_VARIANCE_BOUND, LOG_VARIANCE_BOUND)

    def decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        """Decode latents z ``[B, latent]`` to rows ``[B, D]``, which are added to the centres."""
        hidden = self.unfold(self.decoder(z, cond))
        if not self.is_picture:
            return self.up(hidden)
        _, height, width = self.event_shape
        grid = hidden.view(len(z), -1, math.ceil(height / 4), math.ceil(width / 4))
        return self.up(grid)[..., :height, :width].flatten(1)


def _convolutions(event_shape: torch.Size, width: int) -> tuple[nn.Sequential, nn.Sequential, int]:
    """Return the convolutions to a quarter of each side and back, and the size of the smallest grid."""
    channels, height, side = event_shape
    down = nn.Sequential(
        nn.Conv2d(channels, width, 3, stride=2, padding=1),
        nn.SiLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.SiLU(),
    )
    up = nn.Sequential(
        nn.SiLU(),
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
        nn.SiLU(),
        nn.Conv2d(width, 4 * channels, 3, padding=1),
        nn.PixelShuffle(2),
    )
    return down, up, 2 * width * math.ceil(height / 4) * math.ceil(side / 4)


def quasi_normal(n: int, dim: int, like: Tensor) -> Tensor:
    """Return ``n`` quasi-random nodes ``[n, dim]``, always the same, in dtype and on device of ``like``.

    Scrambled Sobol points (Owen 1998) through the inverse of the normal distribution function. Beyond the
    dimensions for which a Sobol sequence is tabulated they are plain pseudo-random numbers.
    """
    if dim > LARGEST_SOBOL or dim == 0:
        nodes = torch.randn(n, dim, generator=torch.Generator().manual_seed(SOBOL_SEED), dtype=torch.float64)
        return nodes.to(like)
    points = torch.quasirandom.SobolEngine(dim, scramble=True, seed=SOBOL_SEED).draw(n, dtype=torch.float64)
    half_step = 2.0**-31
    return torch.special.ndtri(points.clamp(half_step, 1 - half_step)).to(like)
