"""The data set's own classifier: accuracy of generated samples, and the features of the Fréchet distance.

A small CNN for pictures, an MLP for everything else. Both end in a linear layer to ``FEATURES`` numbers, a
ReLU, and a linear layer to the logits; what comes out of the ReLU are the features.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.data.base import Data
from flowprior.errors import InputError
from flowprior.features.base import short_identity

FEATURES = 128
SMALLEST_SIDE = 7
BATCH = 500


class Classifier(nn.Module):
    """p(label | x) for events of one data set, without weights until it is trained or loaded.

    Args:
        event_shape: shape of one event; ``[C, H, W]`` takes a CNN, anything else an MLP.
        classes: number of labels.
    """

    dim = FEATURES
    shift: Tensor
    scale: Tensor

    def __init__(self, event_shape: torch.Size, classes: int) -> None:
        super().__init__()
        self.event_shape = torch.Size(event_shape)
        self.classes = classes
        self.network = build_network(self.event_shape, classes).to_empty(device="cpu")
        self.register_buffer("shift", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor], event_shape: torch.Size, classes: int) -> Classifier:
        """The classifier whose ``state_dict`` is ``tensors``, in evaluation mode, its weights fixed.

        Raises:
            KeyError: a tensor is missing.
            RuntimeError: tensors of another network.
        """
        found = cls(event_shape, classes)
        for name in ("shift", "scale"):
            found.register_buffer(name, tensors[name].clone())
        found.load_state_dict(dict(tensors))
        return found.eval().requires_grad_(False)

    @property
    def features_name(self) -> str:
        """Name of the features, as in ``fid-cnn128``."""
        return "cnn128" if len(self.event_shape) == 3 else "mlp128"

    def describe(self) -> str:
        """Which weights it has, as in ``cnn128 sha256 1a2b3c4d``: values under others are not comparable."""
        return short_identity(self)

    def identity(self) -> str:
        """The same with the whole digest, which keys cached statistics."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().double().contiguous().numpy().data)
        return f"{self.features_name} sha256 {digest.hexdigest()}"

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[B, classes]`` of x ``[B, *event]``."""
        return self.network(self._standardised(x))

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Features ``[B, 128]``, on the CPU, of x ``[B, *event]``: what the last layer sees.

        Raises:
            InputError: x of another event shape.
        """
        return self._apply_to(x, self.network[0]).cpu()

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """The likeliest label ``[B]`` of x ``[B, *event]``.

        Raises:
            InputError: x of another event shape.
        """
        return self._apply_to(x, self.network).argmax(1)

    def accuracy(self, x: Tensor, labels: Tensor) -> float:
        """Share of x ``[B, *event]`` that is recognised as ``labels`` ``[B]``."""
        return (self.predict(x).cpu() == labels.cpu()).double().mean().item()

    def serves(self, event_shape: torch.Size, condition: Condition) -> bool:
        """Whether it takes events of this shape and, where the condition is a label, knows all of them."""
        known = condition.kind != "labels" or condition.size <= self.classes
        return known and torch.Size(event_shape) == self.event_shape

    def _apply_to(self, x: Tensor, layers: nn.Module) -> Tensor:
        if x.shape[1:] != self.event_shape or len(x) == 0:
            expected = f"x [B, {list(self.event_shape)}] with B >= 1"
            raise InputError(f"classifier: expected {expected}, got {list(x.shape)}")
        parts = (self._standardised(part.to(self.shift.device)) for part in x.split(BATCH))
        return torch.cat([layers(part) for part in parts])

    def _standardised(self, x: Tensor) -> Tensor:
        return (x.float() - self.shift) / self.scale


def accuracy_on(classifier: Classifier, data: Data) -> float:
    """Share of a data set's events that the classifier recognises.

    Raises:
        InputError: data without labels, or with events of another shape.
    """
    right = 0.0
    for x, labels in data.batches():
        if not isinstance(labels, Tensor) or labels.is_floating_point():
            raise InputError(f"accuracy_on: '{data.name}' has no labels; pass labelled data")
        right += classifier.accuracy(x, labels) * len(x)
    return right / max(len(data), 1)


def build_network(event_shape: torch.Size, classes: int) -> nn.Sequential:
    """``Sequential(body, head)`` without weights (on the meta device), body to features, head to logits."""
    with torch.device("meta"):
        body = _cnn(event_shape) if len(event_shape) == 3 else _mlp(math.prod(event_shape))
        return nn.Sequential(body, nn.Linear(FEATURES, classes))


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
