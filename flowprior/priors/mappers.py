"""The networks that a learned mean can be: which there are, and which suits a condition and its events."""

from __future__ import annotations

import torch

from flowprior.conditions import Condition
from flowprior.errors import InputError
from flowprior.priors.linear_mapper import LinearMapper
from flowprior.priors.mapper_training import Mapper, MapperNetwork
from flowprior.priors.picture_mapper import PICTURE, PictureMapper
from flowprior.priors.projector import Projector

AUTO = "auto"
MAPPERS = (AUTO, "mlp", "projector", "unet", "linear")


def make_mapper(
    kind: str,
    condition: Condition,
    condition_shape: tuple[int, ...],
    event_shape: torch.Size,
    hidden: int,
    depth: int,
) -> MapperNetwork:
    """A network from rows of a condition to flat events.

    Args:
        kind: one of :data:`MAPPERS`; ``"auto"`` is ``"unet"`` from pictures to pictures, else ``"mlp"``.
        condition: labels, embeddings, as which the numbers of a picture count, or a series.
        condition_shape: of a condition that is a tensor; else empty.
        event_shape: of x1.
        hidden: width.
        depth: residual blocks.

    Raises:
        InputError: a kind that these conditions or events do not fit.
    """
    if kind == AUTO:
        kind = "unet" if len(condition_shape) == len(event_shape) == PICTURE else "mlp"
    if kind == "unet":
        return PictureMapper(condition_shape, event_shape, hidden, depth)
    if kind == "linear":
        if condition.kind == "labels":
            raise InputError(
                "learned-mean.fit: expected embeddings or tensors for mapper='linear', got labels; use 'gmm'"
            )
        return LinearMapper(condition, event_shape.numel())
    if kind == "projector":
        return Projector(condition, event_shape, hidden, depth)
    return Mapper(condition, event_shape.numel(), hidden, depth)
