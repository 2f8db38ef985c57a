"""A few small pictures with labels, and an autoencoder that was trained on them for a moment."""

from __future__ import annotations

import dataclasses

import torch

from flowprior.data import TensorData
from flowprior.extensions.latents.training import VaeTraining, train_vae
from flowprior.extensions.latents.vae import VaeEncoder

SHORT = VaeTraining(latent=2, widths="4-8", steps=20, batch_size=8)


def pictures(count: int = 40, size: int = 8, channels: int = 3, seed: int = 0) -> TensorData:
    """Smooth random pictures in [-1, 1] with three labels."""
    coarse = torch.randn(count, channels, 2, 2, generator=torch.Generator().manual_seed(seed))
    x = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear").tanh()
    return TensorData(x, torch.arange(count) % 3, name="pictures", classes=3, is_image=True)


def small_vae(seed: int = 0, channels: int = 3) -> VaeEncoder:
    """Latents [2, h/4, w/4]."""
    return train_vae(pictures(channels=channels), dataclasses.replace(SHORT, seed=seed))
