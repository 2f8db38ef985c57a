"""Encoders of pictures to latents, by weights that lie on this machine."""

from flowprior.encoders.diffusers_folder import AutoencoderKLEncoder, VQModelEncoder
from flowprior.encoders.latent import IdentityEncoder
from flowprior.encoders.vae import StoredVaeEncoder, VaeEncoder

__all__ = [
    "AutoencoderKLEncoder",
    "IdentityEncoder",
    "StoredVaeEncoder",
    "VQModelEncoder",
    "VaeEncoder",
]
