"""Velocity networks; conveniences, for any ``nn.Module`` v(x, t, cond) will do."""

from flowprior.models.base import MODELS, build_model, model_options
from flowprior.models.condition_embedding import ConditionEmbedding, TimeConditionEmbedding
from flowprior.models.diffusers import DiffusersModel
from flowprior.models.mlp import MLP
from flowprior.models.time_embedding import TimeEmbedding, sinusoids
from flowprior.models.unet import UNet

__all__ = [
    "MLP",
    "MODELS",
    "ConditionEmbedding",
    "DiffusersModel",
    "TimeConditionEmbedding",
    "TimeEmbedding",
    "UNet",
    "build_model",
    "model_options",
    "sinusoids",
]
