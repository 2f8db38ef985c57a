"""Velocity networks; conveniences, for any ``nn.Module`` v(x, t, cond) will do."""

from flowprior.models.base import MODELS, ReadingModel, build_model, built_by, model_options
from flowprior.models.diffusers import DiffusersModel
from flowprior.models.dit import DiT
from flowprior.models.encoders import EncodedData, Encoder, LatentEncoder, TextEncoder, TextEncoding
from flowprior.models.mlp import MLP
from flowprior.models.tokens import CrossAttention, TokenContext
from flowprior.models.unet import UNet

__all__ = [
    "MLP",
    "MODELS",
    "CrossAttention",
    "DiT",
    "DiffusersModel",
    "EncodedData",
    "Encoder",
    "LatentEncoder",
    "ReadingModel",
    "TextEncoder",
    "TextEncoding",
    "TokenContext",
    "UNet",
    "build_model",
    "built_by",
    "model_options",
]
