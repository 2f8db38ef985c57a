"""Pictures as they are, for a flow that lives in pixels."""

from __future__ import annotations

from torch import Tensor

from flowprior.encoders.base import Encoder
from flowprior.encoders.latent import LatentEncoder


@Encoder.register("identity")
class IdentityEncoder(LatentEncoder):
    """Pictures as they are: the latents are the pixels."""

    def _encode(self, x: Tensor) -> Tensor:
        return x

    def _decode(self, z: Tensor) -> Tensor:
        return z
