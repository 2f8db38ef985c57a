"""The encoder that leaves images as they are."""

from __future__ import annotations

from torch import Tensor

from flowprior.models.encoders import Encoder, LatentEncoder


@Encoder.register("identity")
class IdentityEncoder(LatentEncoder):
    """Pictures as they are: the latents are the pixels."""

    def _encode(self, x: Tensor) -> Tensor:
        return x

    def _decode(self, z: Tensor) -> Tensor:
        return z
