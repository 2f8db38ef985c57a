"""Adapter for diffusers' U-Nets (extra ``diffusers``): UNet2DModel and UNet2DConditionModel."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowprior.conditions import Condition, Conditions, TokenStates
from flowprior.conditions.values import describe_value
from flowprior.errors import InputError, OptionError, pip_install
from flowprior.models.base import MODELS, check_picture, parse_widths
from flowprior.networks.embeddings import TIME_SCALE, zeroed
from flowprior.registry import check_counts
from flowprior.storage.reading import TEXT_LIMIT, bounded_bytes


class DiffusersModel(nn.Module):
    """A diffusers U-Net as a velocity model v(x [B, C, H, W], t [B], cond).

    Times are scaled to diffusers' 0..1000. Labels become ``class_labels``; an embedding [B, E] is a
    single token of cross-attention, ``encoder_hidden_states`` [B, 1, E]; token states [B, T, F] are
    ``encoder_hidden_states`` with their mask as ``encoder_attention_mask``. Sizes that the levels do not
    divide are padded at the far edges and cropped back.

    Args:
        net: a UNet2DModel (labels or no condition) or UNet2DConditionModel (embeddings or token states).
        condition: kind and size of the condition.
    """

    def __init__(self, net: nn.Module, condition: Condition) -> None:
        super().__init__()
        self.net = net
        self.condition = condition
        config: Any = net.config
        self.multiple = 2 ** (len(config.block_out_channels) - 1)

    def forward(self, x: Tensor, t: Tensor, cond: Conditions | None = None) -> Tensor:
        """Velocity of x ``[B, C, H, W]`` at times ``[B]`` under the condition, in the dtype of x.

        Raises:
            InputError: the condition is missing, or another one.
        """
        height, width = x.shape[2:]
        padded = functional.pad(x, (0, -width % self.multiple, 0, -height % self.multiple))
        velocity = self.net(padded, TIME_SCALE * t, **self._conditioning(cond, x.dtype), return_dict=False)[0]
        return velocity[..., :height, :width].to(x.dtype).contiguous()

    def _conditioning(self, cond: Conditions | None, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the keyword arguments of the network that carry the condition."""
        kind = self.condition.kind
        if kind == "none":
            return {}
        if kind == "tokens" and isinstance(cond, TokenStates):
            states = cond.cleared().states.to(dtype)
            return {"encoder_hidden_states": states, "encoder_attention_mask": cond.mask}
        if kind == "labels" and isinstance(cond, Tensor):
            return {"class_labels": cond}
        if kind == "embeddings" and isinstance(cond, Tensor):
            return {"encoder_hidden_states": cond.to(dtype)[:, None]}
        raise InputError(f"diffusers: expected {self.condition.describe()}, got {describe_value(cond)}")


@MODELS.register("diffusers")
def diffusers(
    event_shape: torch.Size,
    condition: Condition,
    widths: str | int | tuple[int, ...] = "64-128",
    blocks: int = 1,
    config: str | None = None,
    inputs: int = 1,
) -> DiffusersModel:
    """U-Net of the diffusers library: UNet2DModel, or UNet2DConditionModel for embeddings and tokens (extra).

    Its output layer starts at zero.

    Args:
        event_shape: (channels, height, width).
        condition: kind and size of the condition.
        widths: channels of each resolution; only the lowest attends.
        blocks: layers of each resolution.
        config: a local diffusers ``config.json`` instead of widths and blocks; channels, classes and the
            width of the cross-attention are set to those of the data.
        inputs: tensors of the event's shape that it sees side by side, along their channels.

    Raises:
        OptionError: diffusers is not installed, the file is not there, the options do not fit, or the
            condition has several parts, or is a tensor such as an image.
    """
    check_picture("diffusers", event_shape)
    if condition.kind in ("tensor", "parts"):
        part = f", or one part of it, such as diffusers:reads={condition.names[0]}" if condition.names else ""
        raise OptionError(
            f"diffusers: expected labels, embeddings or tokens as condition, got {condition.describe()}; use "
            f"model 'unet'{part}"
        )
    width = condition.size if condition.kind in ("embeddings", "tokens") else 0
    options = _stored(config) if config is not None else _compact(widths, blocks, width > 0)
    options |= {"in_channels": inputs * event_shape[0], "out_channels": event_shape[0]}
    if width:
        options["cross_attention_dim"] = width
    if condition.kind == "labels":
        options["num_class_embeds"] = condition.size + 1
    network = class_of_diffusers("UNet2DConditionModel" if width else "UNet2DModel", "model 'diffusers'")
    net = network.from_config(options) if config is not None else network(**options)
    zeroed(net.conv_out)
    return DiffusersModel(net, condition)


def class_of_diffusers(name: str, owner: str) -> Any:
    """Return the class ``name`` of the diffusers library.

    Raises:
        OptionError: the library is not installed; ``owner`` says who needs it.
    """
    try:
        return getattr(importlib.import_module("diffusers"), name)
    except ImportError as error:
        raise OptionError(f"{owner} needs the diffusers library; run `{pip_install('diffusers')}`") from error


def _compact(widths: str | int | tuple[int, ...], blocks: int, embeddings: bool) -> dict[str, Any]:
    """Return options of a U-Net that attends at the lowest resolution only, and there to the embedding."""
    levels = parse_widths(widths, "diffusers")
    check_counts("diffusers", blocks=blocks)
    above = len(levels) - 1
    attention = "CrossAttn" if embeddings else "Attn"
    return {
        "block_out_channels": levels,
        "layers_per_block": blocks,
        "down_block_types": ("DownBlock2D",) * above + (f"{attention}DownBlock2D",),
        "up_block_types": (f"{attention}UpBlock2D",) + ("UpBlock2D",) * above,
        "norm_num_groups": math.gcd(32, *levels),
    }


def _stored(config: str) -> dict[str, Any]:
    file = Path(str(config)).expanduser()
    file = file / "config.json" if file.is_dir() else file
    try:
        stored = json.loads(bounded_bytes(file, TEXT_LIMIT))
    except (OSError, ValueError, RecursionError) as error:
        raise OptionError(f"diffusers: config={config} cannot be read: {error}") from error
    if not isinstance(stored, dict):
        raise OptionError(f"diffusers: expected an object in {file}, got {type(stored).__name__}")
    return stored
