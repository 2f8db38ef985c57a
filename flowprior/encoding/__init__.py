"""Data in latents: encoded once, kept in a cache; how an encoder of our own is trained and measured."""

from flowprior.encoding.encoded import EncodedData, Reconstruction, measure_reconstruction, pictures_of
from flowprior.encoding.vae_training import VaeTraining, train_vae

__all__ = [
    "EncodedData",
    "Reconstruction",
    "VaeTraining",
    "measure_reconstruction",
    "pictures_of",
    "train_vae",
]
