"""The embeddings of time and condition, and images of the condition as further channels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowprior.conditions import Condition, Conditions, Parts, TokenStates
from flowprior.conditions.values import describe_value
from flowprior.errors import InputError

N = TypeVar("N", bound=nn.Module)

TIME_SCALE = 1000.0
MAX_PERIOD = 10000.0
CHANNELS = 8
"""The channels of the convolutions over a series, each of which halves it."""
HALVINGS = 3
FEATURES = 4
"""The numbers that are left of the steps of a series before its last."""


def sinusoids(t: Tensor, size: int, scale: float = TIME_SCALE) -> Tensor:
    """Return cos and sin of ``scale t ω_i``, with ω_i from 1 down to 1/10000 in geometric steps.

    t runs over [0, 1] where the frequencies (Vaswani et al. 2017) were made for steps 0..1000; unscaled,
    nearly all of them would be constant over it.

    Args:
        t: times ``[B]``.
        size: an even number of features.
        scale: of the times.

    Returns:
        ``[B, size]`` in the dtype of ``t``.
    """
    half = size // 2
    steps = torch.arange(half, device=t.device, dtype=t.dtype)
    frequencies = torch.exp(-math.log(MAX_PERIOD) * steps / half)
    angles = scale * t[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class TimeEmbedding(nn.Module):
    """The sinusoids of t through Linear, SiLU, Linear: ``[B] -> [B, hidden]``."""

    def __init__(self, hidden: int, features: int = 128, scale: float = TIME_SCALE) -> None:
        super().__init__()
        self.features = features
        self.scale = scale
        self.first = nn.Linear(features, hidden)
        self.second = nn.Linear(hidden, hidden)

    def forward(self, t: Tensor) -> Tensor:
        features = sinusoids(t.to(self.first.weight.dtype), self.features, self.scale)
        return self.second(functional.silu(self.first(features)))


class ConditionEmbedding(nn.Module):
    """A condition as ``[B, hidden]``: a row of a table for labels, a linear map for embeddings and tensors.

    The table has ``condition.size + 1`` rows, the last for the null label; the null embedding is all
    zeros and becomes the map's bias. Token states are mapped by their mean over the attended tokens. Tensors
    [channels, length] are series (:class:`SeriesEmbedding`). The embeddings of several parts
    are added up.
    """

    def __init__(self, condition: Condition, hidden: int) -> None:
        super().__init__()
        self.condition = condition
        self.embed: nn.Embedding | nn.Linear | SeriesEmbedding | None = None
        if condition.kind == "labels":
            self.embed = nn.Embedding(condition.size + 1, hidden)
        elif condition.is_series:
            self.embed = SeriesEmbedding(condition.shape, hidden)
        elif condition.kind in ("embeddings", "tensor", "tokens"):
            self.embed = nn.Linear(condition.size, hidden)
        elif condition.kind == "parts":
            self.parts = nn.ModuleList(ConditionEmbedding(part, hidden) for _, part in condition.parts)

    def forward(self, cond: Conditions | None) -> Tensor | None:
        """Embed ``cond``; None for models without a condition.

        Raises:
            InputError: there is no condition, or one of another kind or width.
        """
        if self.condition.kind == "parts":
            return self._sum(cond)
        if self.embed is None:
            return None
        if isinstance(cond, TokenStates) and self.condition.kind == "tokens":
            cond = cond.means()
        labels = self.condition.kind == "labels"
        width = () if labels else self.condition.event_shape
        is_tensor = isinstance(cond, Tensor)
        if is_tensor and isinstance(self.embed, SeriesEmbedding) and cond.dim() == 2:
            width = (self.condition.size,)  # flat, as priors have it
        if not is_tensor or cond.is_floating_point() == labels or cond.shape[1:] != torch.Size(width):
            raise InputError(f"model: expected {self.condition.describe()}, got {describe_value(cond)}")
        if isinstance(self.embed, nn.Linear):
            cond = cond.flatten(1).to(self.embed.weight.dtype)
        return self.embed(cond)

    def _sum(self, cond: Conditions | None) -> Tensor:
        if not isinstance(cond, Parts):
            raise InputError(f"model: expected {self.condition.describe()}, got {describe_value(cond)}")
        embedded = [embed(cond[name]) for embed, name in zip(self.parts, self.condition.names, strict=True)]
        return torch.stack(embedded).sum(0) if len(embedded) > 1 else embedded[0]


class TimeConditionEmbedding(nn.Module):
    """The sum of the time's and the condition's embeddings: (t ``[B]``, cond) -> ``[B, hidden]``.

    Args:
        condition: kind and size of the condition.
        hidden: width of the embeddings.
    """

    def __init__(self, condition: Condition, hidden: int) -> None:
        super().__init__()
        self.time = TimeEmbedding(hidden)
        self.condition = ConditionEmbedding(condition, hidden)

    def forward(self, t: Tensor, cond: Conditions | None) -> Tensor:
        embedded, condition = self.time(t), self.condition(cond)
        return embedded if condition is None else embedded + condition


class SeriesEmbedding(nn.Module):
    """The embedding of series ``[B, channels, length]``, flat or not, ``[B, hidden]``.

    Three convolutions of 3 steps, each of which halves the length, and a linear map leave four numbers in
    (−1, 1); they and the last step go through a linear map each, and are added up.

    What comes next follows from the last step nearly linearly where steps are short, such as an hour of
    weather, so that step has a linear map of its own, as in the linear forecasts that deep networks are
    measured against (Zeng et al. 2023, arXiv 2205.13504). What the steps before add goes through a bottleneck
    of four numbers: windows of one series that begin an hour apart are nearly one example, and a wider
    network learns them by heart. On the data set ``weather`` the held-out error of a mean was the same with
    four numbers as with sixteen, and with sixteen it rose sooner.

    Args:
        shape: (channels, length); the last step is the one nearest to what is asked for.
        hidden: numbers in the embedding.
    """

    def __init__(self, shape: Sequence[int], hidden: int) -> None:
        super().__init__()
        channels, length = self.shape = tuple(shape)
        widths = [channels, *[CHANNELS] * HALVINGS]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(here, after, 3, 2, padding=1) for here, after in itertools.pairwise(widths)
        )
        for _ in range(HALVINGS):
            length = -(-length // 2)
        self.last = nn.Linear(channels, hidden)
        self.summary = nn.Linear(CHANNELS * length, FEATURES)
        self.before = nn.Linear(FEATURES, hidden)

    def forward(self, series: Tensor) -> Tensor:
        """The embedding; the null series, all zeros, has that of any other series of zeros."""
        h = series = series.reshape(-1, *self.shape).to(self.last.weight.dtype)
        for convolution in self.convolutions:
            h = functional.silu(convolution(h))
        return self.last(series[:, :, -1]) + self.before(self.summary(h.flatten(1)).tanh())


def zeroed(layer: N) -> N:
    """The layer with all of its parameters at zero, so that a network starts without what it adds."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class ConditionPictures:
    """The pictures of a condition, stretched to the size of the event and side by side along their channels.

    A condition without a picture has no channels. The null condition is a picture of zeros.

    Args:
        condition: kind and size of the whole condition.

    Attributes:
        left: the condition without its pictures, which a network has to embed.
    """

    def __init__(self, condition: Condition) -> None:
        self.shapes = {name: part.shape for name, part in condition.named.items() if part.is_picture}
        names = tuple(name for name in condition.names if name not in self.shapes)
        of_names = condition.only(names) if names else Condition()
        self.left = of_names if self.shapes else condition

    @property
    def channels(self) -> int:
        """The number of channels of all images together."""
        return sum(shape[0] for shape in self.shapes.values())

    def beside(self, x: Tensor, cond: Conditions | None) -> Tensor:
        """Return x ``[B, C, H, W]`` with the images of ``cond`` beside it, ``[B, C + channels, H, W]``.

        Raises:
            InputError: a picture is missing, or has another shape.
        """
        if not self.shapes:
            return x
        found = [stretched(picture.to(x), x.shape[2:]) for picture in self._read(cond)]
        return torch.cat([x, *found], 1)

    def rest(self, cond: Conditions | None) -> Conditions | None:
        """The condition without its pictures."""
        if not self.shapes or not isinstance(cond, Parts):
            return None if self.shapes else cond
        names = self.left.names
        return cond.only(names) if names else None

    def _read(self, cond: Conditions | None) -> list[Tensor]:
        read = []
        for name, shape in self.shapes.items():
            value = cond[name] if name and isinstance(cond, Parts) and name in cond else cond
            if not isinstance(value, Tensor) or value.shape[1:] != torch.Size(shape):
                sides = ", ".join(map(str, shape))
                raise InputError(
                    f"model: expected a picture [B, {sides}] as condition, got {describe_value(cond)}"
                )
            read.append(value)
        return read


def stretched(picture: Tensor, size: Sequence[int]) -> Tensor:
    """Return images ``[B, C, h, w]`` at another size (H, W), bilinear; every pixel counts if they shrink."""
    smaller = size[0] < picture.shape[2] or size[1] < picture.shape[3]
    return functional.interpolate(picture, tuple(size), mode="bilinear", antialias=smaller)
