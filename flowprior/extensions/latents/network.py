"""A small convolutional variational autoencoder: images to a grid of latents, and back.

Kingma & Welling 2014 (arXiv 1312.6114); as an encoder for latent flows, Rombach et al. 2022 (arXiv
2112.10752, sec. 3.1). Both halves are a linear map of patches, which may start as their principal components,
and what convolutions without normalisation add to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowprior.models.base import parse_widths
from flowprior.registry import check_counts

LOG_VARIANCE_BOUND = 20.0
"""The largest absolute log-variance of the posterior."""
FIRST_LOG_VARIANCE = -6.0
"""The log-variance of the posterior before training."""
SMALLEST_VARIANCE = 1e-6
"""The lower bound on the variances of principal components."""


class ResidualConvolutions(nn.Module):
    """The block x + conv2(SiLU(conv1(SiLU(x)))), in which conv2 starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(functional.silu(self.conv1(functional.silu(x))))


class _Down(nn.Module):
    """The layer that halves the resolution by a strided convolution, followed by residual blocks."""

    def __init__(self, channels_above: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_above, channels, 4, stride=2, padding=1)
        self.blocks = nn.Sequential(*(ResidualConvolutions(channels) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.conv(x))


class _Up(nn.Module):
    """The layer that doubles the resolution by a pixel shuffle (Shi et al. 2016), after residual blocks."""

    def __init__(self, channels: int, channels_above: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(ResidualConvolutions(channels) for _ in range(blocks)))
        self.conv = nn.Conv2d(channels, 4 * channels_above, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.conv(functional.silu(self.blocks(x))), 2)


class ConvolutionalVae(nn.Module):
    """The posterior q(z | x), a Gaussian for each number of a grid ``[c, h, w]``, and the decoder to images.

    Attributes:
        factor: the factor by which height and width are divided: 2 to the number of widths.

    Args:
        channels: C of the images.
        latent: channels c of the latents.
        widths: channels of each resolution, from half the image's down: ``"48-96"`` or a sequence.
        blocks: residual blocks of each resolution; the decoder has one more.

    Raises:
        OptionError: an option that is no positive number.
    """

    def __init__(
        self, channels: int, latent: int = 8, widths: str | int | tuple[int, ...] = "48-96", blocks: int = 1
    ) -> None:
        super().__init__()
        levels = parse_widths(widths, "vae")
        check_counts("vae", channels=channels, latent=latent, blocks=blocks)
        self.channels, self.latent, self.factor = channels, latent, 2 ** len(levels)
        above = (channels, *levels[:-1])
        self.down = nn.ModuleList(_Down(a, w, blocks) for a, w in zip(above, levels, strict=True))
        self.posterior = nn.Conv2d(levels[-1], 2 * latent, 3, padding=1)
        self.unfold = nn.Conv2d(latent, levels[-1], 3, padding=1)
        rising = zip(levels[::-1], above[::-1], strict=True)
        self.up = nn.ModuleList(_Up(width, a, blocks + 1) for width, a in rising)
        self.linear_down = nn.Conv2d(channels, latent, self.factor, stride=self.factor)
        self.linear_up = nn.ConvTranspose2d(latent, channels, self.factor, stride=self.factor)
        self._initialise()
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def _initialise(self) -> None:
        """Initialise the weights as He et al. 2015; residual blocks start as the identity."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, ResidualConvolutions):
                nn.init.zeros_(module.conv2.weight)

    @torch.no_grad()
    def start_from(self, x: Tensor) -> None:
        """Initialise the network as the principal components of patches of x ``[B, C, H, W]``.

        Its linear parts become them, scaled to variance 1; what the convolutions add starts at zero, and the
        posterior with little noise.
        """
        side = self.factor
        rows = functional.unfold(x, side, stride=side).transpose(1, 2).flatten(0, 1).double()
        centre = rows.view(len(rows), self.channels, -1).mean((0, 2))
        rows = rows - centre.repeat_interleave(side**2)
        variances, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
        kept = min(self.latent, len(variances))
        spread = variances.flip(0)[:kept].clamp_min(SMALLEST_VARIANCE).sqrt()
        basis = vectors.flip(1)[:, :kept].T.reshape(kept, self.channels, side, side)
        down, up = basis / spread[:, None, None, None], basis * spread[:, None, None, None]
        changed = ("linear_", "posterior.", f"up.{len(self.up) - 1}.conv.")
        start = {n: torch.zeros_like(t) for n, t in self.state_dict().items() if n.startswith(changed)}
        start["linear_down.weight"][:kept] = down.to(x)
        start["linear_down.bias"][:kept] = -(down.sum((2, 3)) @ centre).to(x)
        start["linear_up.weight"][:kept] = up.to(x)
        start["linear_up.bias"][:] = centre.to(x)
        start["posterior.bias"][self.latent :] = FIRST_LOG_VARIANCE
        self.load_state_dict(start, strict=False)

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> ConvolutionalVae:
        """Build the network of a ``state_dict`` of any floating-point type, in float32.

        Raises:
            KeyError: a tensor is missing.
            RuntimeError: they are those of another network.
        """
        found = cls(**_options_of(tensors))
        found.load_state_dict(dict(tensors))
        return found

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of q(z | x), ``[B, c, h, w]`` each, for images of divisible sides."""
        hidden = x.contiguous(memory_format=torch.channels_last)
        for level in self.down:
            hidden = level(hidden)
        mean, log_variance = self.posterior(functional.silu(hidden)).chunk(2, dim=1)
        mean = self.linear_down(x) + mean
        return mean.contiguous(), log_variance.clamp(-LOG_VARIANCE_BOUND, LOG_VARIANCE_BOUND)

    def decode(self, z: Tensor) -> Tensor:
        """Decode latents z ``[B, c, h, w]`` to images ``[B, C, H, W]``."""
        hidden = self.unfold(z.contiguous(memory_format=torch.channels_last))
        for level in self.up:
            hidden = level(hidden)
        return (self.linear_up(z) + hidden).contiguous()


def _options_of(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the options with which a network of these tensors was built."""
    widths = [
        len(tensors[name])
        for name in sorted(filter(re.compile(r"down\.\d\.conv\.weight").fullmatch, tensors))
    ]
    return {
        "channels": tensors["down.0.conv.weight"].shape[1],
        "latent": tensors["unfold.weight"].shape[1],
        "widths": tuple(widths),
        "blocks": sum(bool(re.fullmatch(r"down\.0\.blocks\.\d+\.conv1\.weight", name)) for name in tensors),
    }
