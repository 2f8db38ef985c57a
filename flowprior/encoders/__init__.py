"""Encoders: captions to embeddings, pictures to latents, by weights that lie on this machine."""

from flowprior.encoders.diffusers_folder import AutoencoderKLEncoder, VQModelEncoder
from flowprior.encoders.latent import IdentityEncoder
from flowprior.encoders.text_models import ClipTextEncoder, HuggingFaceEncoder, MiniLMEncoder
from flowprior.encoders.vae import StoredVaeEncoder, VaeEncoder

__all__ = [
    "AutoencoderKLEncoder",
    "ClipTextEncoder",
    "HuggingFaceEncoder",
    "IdentityEncoder",
    "MiniLMEncoder",
    "StoredVaeEncoder",
    "VQModelEncoder",
    "VaeEncoder",
]
