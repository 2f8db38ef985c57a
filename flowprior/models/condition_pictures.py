"""Pictures of a condition as further channels of a network's input, such as the low-resolution one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from flowprior.conditions import Condition, Conditions, Parts, describe_value
from flowprior.errors import InputError


def without_pictures(condition: Condition) -> Condition:
    """What a network that takes pictures as channels is left to embed."""
    if condition.kind != "parts":
        return Condition() if condition.is_picture else condition
    left = tuple((name, part) for name, part in condition.parts if not part.is_picture)
    return Condition("parts", parts=left) if left else Condition()


class ConditionPictures:
    """The pictures of a condition, stretched to the size of the event and side by side along their channels.

    A condition without a picture has no channels. The null condition is a picture of zeros.

    Args:
        condition: kind and size of the whole condition.
    """

    def __init__(self, condition: Condition) -> None:
        self.shapes = {name: part.shape for name, part in condition.named.items() if part.is_picture}
        self.left = without_pictures(condition)

    @property
    def channels(self) -> int:
        """How many channels the pictures have together."""
        return sum(shape[0] for shape in self.shapes.values())

    def beside(self, x: Tensor, cond: Conditions | None) -> Tensor:
        """x ``[B, C, H, W]`` with the pictures of ``cond`` beside it, ``[B, C + channels, H, W]``.

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
    """Pictures ``[B, C, h, w]`` at another size (H, W), bilinear; every pixel counts where they shrink."""
    smaller = size[0] < picture.shape[2] or size[1] < picture.shape[3]
    return functional.interpolate(picture, tuple(size), mode="bilinear", antialias=smaller)
