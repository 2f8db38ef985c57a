"""Standardised data: every number of an event, and of an embedding, with mean 0 and variance 1."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from flowprior.conditions import Conditions
from flowprior.errors import InputError
from flowprior.mixtures.moments import ConditionMoments
from flowprior.models.encoders import EncodedData, Encoder, LatentEncoder
from flowprior.streams.data import Data


@Encoder.register("standardise")
class Standardise(LatentEncoder):
    """Mean 0 and variance 1 of each number, and of each number of an embedding, by the training data.

    Unlike other encoders it takes events of any shape and loses nothing: all methods of a flow take and give
    events, drafts and source samples in the units of the data. Numbers that never vary are only shifted; the
    embedding of zeros, the null condition, stays. Priors that a condition or a file gives values of events,
    such as ``around``, are refused.
    """

    travels = True
    keeps_density = True

    def __init__(self) -> None:
        super().__init__()
        self.shift, self.scale = nn.Buffer(torch.empty(0)), nn.Buffer(torch.empty(0))
        self.cond_shift, self.cond_scale = nn.Buffer(torch.empty(0)), nn.Buffer(torch.empty(0))
        self.fix()

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> Standardise:
        made = cls()
        for name in made.state_dict():
            setattr(made, name, tensors[name])
        return made

    def encoded(self, data: Data, folder: Path | str | None = None) -> StandardisedData:
        if not self.scale.numel():
            self._learn(data)
        return StandardisedData(data, self)

    @torch.no_grad()
    def _learn(self, data: Data) -> None:
        """Learn mean and standard deviation of events and embeddings."""
        device = self.shift.device
        shift, scale = _moments((x.flatten(1), None) for x, _ in data.batches())
        self.shift, self.scale = (value.view(data.event_shape).to(device) for value in (shift, scale))
        if data.condition.kind == "embeddings":
            embeddings = (c for _, c in data.batches() if isinstance(c, Tensor))
            shift, scale = _moments((c, None) for c in embeddings)
            self.cond_shift, self.cond_scale = shift.to(device), scale.to(device)

    def latent_shape(self, event_shape: torch.Size) -> torch.Size:
        if self.scale.numel() and event_shape != self.scale.shape:
            raise InputError(
                f"encoder 'standardise': expected events {list(self.scale.shape)}, got {list(event_shape)}"
            )
        return event_shape

    def encode(self, x: Tensor) -> Tensor:
        return (x - self.shift.to(x)) / self.scale.to(x)

    def decode(self, z: Tensor, event_shape: torch.Size | None = None) -> Tensor:
        return self.shift.to(z) + self.scale.to(z) * z

    def encode_condition(self, cond: Conditions | None) -> Conditions | None:
        if not isinstance(cond, Tensor) or not self.cond_scale.numel():
            return cond
        standard = (cond - self.cond_shift.to(cond)) / self.cond_scale.to(cond)
        return torch.where((cond == 0).all(1, keepdim=True), 0.0, standard)

    def log_scale(self) -> Tensor:
        return self.scale.double().log().sum()

    _encode, _decode = encode, decode


def _moments(rows: Iterable[tuple[Tensor, None]]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of rows ``[N, D]``, float32; 1 where nothing varies."""
    moments = ConditionMoments.over(rows)
    scale = moments.variance()[0].sqrt().float()
    return moments.mean[0].float(), torch.where(scale > 0, scale, 1.0)


class StandardisedData(EncodedData):
    """Data and their embeddings, standardised."""

    def __init__(self, data: Data, encoder: Standardise) -> None:
        for attribute in inspect.get_annotations(Data):
            setattr(self, attribute, getattr(data, attribute))
        self.images, self.encoder = data, encoder
        encoder.latent_shape(data.event_shape)

    def __len__(self) -> int:
        return len(self.images)

    def prepare(self, notify: Callable[[str], None] | None = None) -> Self:
        return self

    def batch(self, indices: Tensor) -> tuple[Tensor, Any]:
        x, cond = self.images.batch(indices)
        return self.encoder.encode(x), self.encoder.encode_condition(cond)

    def conditions(self, indices: Tensor) -> Conditions | None:
        return self.encoder.encode_condition(self.images.conditions(indices))

    def training_condition(self, indices: Tensor, cond: Conditions | None, chance: Tensor) -> Any:
        found = self.images.training_condition(indices, self.images.conditions(indices), chance)
        return self.encoder.encode_condition(found)

    def sources(self, indices: Tensor) -> Tensor | None:
        x0 = self.images.sources(indices)
        return None if x0 is None else self.encoder.encode(x0)
