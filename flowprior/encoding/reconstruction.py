"""How well pictures come back from their latents."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from flowprior.data.base import Data
from flowprior.encoders.latent import LatentEncoder
from flowprior.errors import InputError

AT_ONCE = 64
RANGE = 2.0
"""Of a pixel in [-1, 1]."""


@dataclass(frozen=True)
class Reconstruction:
    """Error of decode(encode(x)), clamped to [-1, 1], against x.

    Attributes:
        psnr: peak signal-to-noise ratio 10 log10(4 / mse) in dB, of all pictures together.
        mse: mean squared error of a number in [-1, 1].
        pictures: how many were compared.
    """

    psnr: float
    mse: float
    pictures: int


@torch.no_grad()
def measure_reconstruction(encoder: LatentEncoder, data: Data) -> Reconstruction:
    """Encode and decode all pictures of ``data`` and compare.

    Raises:
        InputError: no data, or events that the encoder does not take.
    """
    if len(data) == 0:
        raise InputError(f"reconstruction: expected pictures, '{data.name}' is empty")
    error, count = 0.0, 0
    device = encoder.device
    for x, _ in data.batches(AT_ONCE):
        x = x.to(device)
        back = encoder.decode(encoder.encode(x), data.event_shape).clamp(-1, 1)
        error += (back - x).double().square().sum().item()
        count += x.numel()
    mse = error / count
    psnr = 10 * math.log10(RANGE**2 / mse) if mse > 0 else math.inf
    return Reconstruction(psnr, mse, len(data))
