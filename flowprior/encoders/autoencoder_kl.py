"""AutoencoderKL of the diffusers library, the encoder of latent diffusion (extra ``diffusers``)."""

from __future__ import annotations

from torch import Tensor

from flowprior.encoders.base import Encoder
from flowprior.encoders.diffusers_folder import DiffusersEncoder


@Encoder.register("autoencoder-kl")
class AutoencoderKLEncoder(DiffusersEncoder):
    """AutoencoderKL of diffusers from a local folder: z = (posterior mean − shift) · scale.

    Rombach et al. 2022 (arXiv 2112.10752, sec. 3.1 and app. G). Scale and shift are the ``scaling_factor``
    and ``shift_factor`` of the model's configuration, as in the library's own pipelines.

    Args:
        path: folder that ``save_pretrained`` wrote, or that of a pipeline with a sub-folder ``vae``.
    """

    network_class = "AutoencoderKL"

    def _encode(self, x: Tensor) -> Tensor:
        return (self.network.encode(x).latent_dist.mode() - self.shift) * self.scale

    def _decode(self, z: Tensor) -> Tensor:
        return self.network.decode(z / self.scale + self.shift).sample
