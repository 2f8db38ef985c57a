"""Velocity networks; conveniences, for any ``nn.Module`` v(x, t, cond) will do."""

import flowprior.models.standardise
from flowprior.models.base import MODELS, build_model
from flowprior.models.diffusers import DiffusersModel
from flowprior.models.dit import DiT
from flowprior.models.encoders import Encoder, LatentEncoder, TextEncoder
from flowprior.models.mlp import MLP
from flowprior.models.unet import UNet

__all__ = [
    "MLP",
    "MODELS",
    "DiT",
    "DiffusersModel",
    "Encoder",
    "LatentEncoder",
    "TextEncoder",
    "UNet",
    "build_model",
]
