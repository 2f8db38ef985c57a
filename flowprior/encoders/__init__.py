"""Encoders: pictures to latents, by weights that lie on this machine, and the cache of what was encoded."""

from flowprior.encoders.autoencoder_kl import AutoencoderKLEncoder
from flowprior.encoders.base import Encoder
from flowprior.encoders.encoded import EncodedData, pictures_of
from flowprior.encoders.identity import IdentityEncoder
from flowprior.encoders.latent import LatentEncoder
from flowprior.encoders.reconstruction import Reconstruction, measure_reconstruction
from flowprior.encoders.vae import StoredVaeEncoder, VaeEncoder
from flowprior.encoders.vae_training import VaeTraining, train_vae
from flowprior.encoders.vq_model import VQModelEncoder

__all__ = [
    "AutoencoderKLEncoder",
    "EncodedData",
    "Encoder",
    "IdentityEncoder",
    "LatentEncoder",
    "Reconstruction",
    "StoredVaeEncoder",
    "VQModelEncoder",
    "VaeEncoder",
    "VaeTraining",
    "measure_reconstruction",
    "pictures_of",
    "train_vae",
]
