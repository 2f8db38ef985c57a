"""The data set's own classifier: accuracy of generated samples, and the features of the Fréchet distance.

It is trained on the training split with a fixed seed. Figures are comparable only under one set of
weights, so it is kept in a cache, keyed by the data and the recipe, and an evaluation names its weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.data.base import Data
from flowprior.errors import InputError
from flowprior.features.base import short_identity
from flowprior.features.networks import FEATURES, build_network, standardise

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

    @property
    def features_name(self) -> str:
        """Name of the features, as in ``fid-cnn128``."""
        return "cnn128" if len(self.event_shape) == 3 else "mlp128"

    def describe(self) -> str:
        """Which weights judge, as in ``cnn128 sha256 1a2b3c4d``: figures of others are not comparable."""
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
        return self.network(standardise(x, self.shift, self.scale))

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Features ``[B, 128]``, on the CPU, of x ``[B, *event]``: what the last layer sees.

        Raises:
            InputError: x of another event shape.
        """
        self._check(x)
        return torch.cat([self.network[0](part) for part in self._parts(x)]).cpu()

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """The likeliest label ``[B]`` of x ``[B, *event]``.

        Raises:
            InputError: x of another event shape.
        """
        self._check(x)
        return torch.cat([self.network(part).argmax(1) for part in self._parts(x)])

    def accuracy(self, x: Tensor, labels: Tensor) -> float:
        """Share of x ``[B, *event]`` that is recognised as ``labels`` ``[B]``."""
        return (self.predict(x).cpu() == labels.cpu()).double().mean().item()

    def fits(self, event_shape: torch.Size, condition: Condition) -> bool:
        """Whether it can judge events of this shape and labels of this range."""
        return (
            torch.Size(event_shape) == self.event_shape
            and condition.kind == "labels"
            and condition.size <= self.classes
        )

    def _parts(self, x: Tensor) -> Iterator[Tensor]:
        for part in x.split(BATCH):
            yield standardise(part.to(self.shift.device), self.shift, self.scale)

    def _check(self, x: Tensor) -> None:
        if x.shape[1:] != self.event_shape or len(x) == 0:
            raise InputError(
                f"classifier: expected x [B, {list(self.event_shape)}] with B >= 1, got {list(x.shape)}"
            )


def accuracy_on(classifier: Classifier, data: Data) -> float:
    """Share of a data set's events that the classifier recognises.

    Raises:
        InputError: data without labels, or with events of another shape.
    """
    right = 0.0
    for x, labels in data.batches():
        if labels is None or labels.is_floating_point():
            raise InputError(f"accuracy_on: '{data.name}' has no labels; pass labelled data")
        right += classifier.accuracy(x, labels) * len(x)
    return right / max(len(data), 1)
