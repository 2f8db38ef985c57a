"""The networks behind the data set's classifier: a small CNN for pictures, an MLP for everything else.

Both end in a linear layer to ``FEATURES`` numbers, a ReLU, and a linear layer to the logits; what comes
out of the ReLU are the features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

FEATURES = 128
SMALLEST_SIDE = 7


def build_network(event_shape: torch.Size, classes: int) -> nn.Sequential:
    """``Sequential(body, head)`` without weights (on the meta device), body to features, head to logits."""
    with torch.device("meta"):
        body = _cnn(event_shape) if len(event_shape) == 3 else _mlp(math.prod(event_shape))
        return nn.Sequential(body, nn.Linear(FEATURES, classes))


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Give every weight He's uniform initialisation (He et al. 2015), every bias zero."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _cnn(event_shape: torch.Size) -> nn.Sequential:
    """3 × 3 convolutions, each followed by a pooling that halves the picture while it is larger than 7."""
    channels, height, width = event_shape
    layers: list[nn.Module] = []
    out = 32
    while len(layers) < 2 or min(height, width) > SMALLEST_SIDE:
        layers.append(nn.Sequential(nn.Conv2d(channels, out, 3, padding=1), nn.ReLU()))
        if min(height, width) > SMALLEST_SIDE:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        channels, out = out, 64
    head = nn.Linear(channels * height * width, FEATURES)
    return nn.Sequential(*layers, nn.Flatten(), head, nn.ReLU())


def _mlp(size: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(size, 256), nn.ReLU(), nn.Linear(256, FEATURES), nn.ReLU())


def standardise(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """(x − shift) / scale in float32."""
    return (x.float() - shift) / scale
