"""VQModel of the diffusers library, an autoencoder with a codebook (extra ``diffusers``)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from flowprior.encoders.base import Encoder
from flowprior.encoders.diffusers_folder import DiffusersEncoder


@Encoder.register("vq-model")
class VQModelEncoder(DiffusersEncoder):
    """VQModel of diffusers from a local folder: latents before quantisation, which decoding does.

    Esser et al. 2021 (arXiv 2012.09841). A flow works on the continuous latents, and the codebook is the
    first layer of the decoder (Rombach et al. 2022, arXiv 2112.10752, sec. 3.1). They are multiplied by the
    ``scaling_factor`` of the model's configuration.

    Args:
        path: folder that ``save_pretrained`` wrote, or that of a pipeline with a sub-folder ``vqvae``.
    """

    network_class = "VQModel"

    def _read(self, config: Any) -> None:
        super()._read(config)
        self.latent_channels = config.get("vq_embed_dim") or config.latent_channels

    def _encode(self, x: Tensor) -> Tensor:
        return (self.network.encode(x).latents - self.shift) * self.scale

    def _decode(self, z: Tensor) -> Tensor:
        return self.network.decode(z / self.scale + self.shift).sample
