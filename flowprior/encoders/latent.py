"""Latent encoders: pictures to a smaller grid of numbers in which a flow lives, and back."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowprior.encoders.base import Encoder
from flowprior.errors import CheckpointError, InputError
from flowprior.registry import spec_of
from flowprior.storage.digests import settings_digest, tensors_digest


class LatentEncoder(nn.Module, Encoder):
    """Base class of latent encoders: z = encode(x), x ≈ decode(z), both without chance.

    A module in evaluation mode whose weights are fixed. Sides of a picture that :attr:`factor` does not
    divide are padded at the far edges with the pixels there, and cropped by :meth:`decode`. Implementations
    give :meth:`_encode` and :meth:`_decode`, and set the attributes.

    Attributes:
        channels: C of the pictures that it takes; 0 takes any.
        latent_channels: c of the latents; 0 keeps those of the pictures.
        factor: by how much it divides height and width.
        travels: its weights are small, and lie with every flow; else a flow names the folder and the digest.
    """

    travels: ClassVar[bool] = False
    channels: int = 0
    latent_channels: int = 0
    factor: int = 1

    def encode(self, x: Tensor) -> Tensor:
        """Latents z ``[B, c, h, w]`` of pictures x ``[B, C, H, W]`` in [-1, 1]: the mean of the posterior.

        Raises:
            InputError: pictures of another shape.
        """
        self.latent_shape(x.shape[1:])
        return self._encode(padded(x, self.factor))

    def decode(self, z: Tensor, event_shape: torch.Size | None = None) -> Tensor:
        """Pictures x ``[B, C, H, W]`` of latents z ``[B, c, h, w]``, not clamped.

        Args:
            z: latents.
            event_shape: [C, H, W] of the pictures that were encoded, to crop what was padded; None keeps all.

        Raises:
            InputError: latents of another shape.
        """
        if event_shape is None:
            event_shape = torch.Size([self.channels or z.shape[1], *(self.factor * n for n in z.shape[2:])])
        expected = self.latent_shape(event_shape)
        if z.shape[1:] != expected:
            raise InputError(
                f"encoder '{self.kind}': expected latents [B, {_listed(expected)}], got {list(z.shape)}"
            )
        return self._decode(z)[..., : event_shape[1], : event_shape[2]]

    def latent_shape(self, event_shape: torch.Size) -> torch.Size:
        """Shape [c, h, w] of the latents of pictures of ``event_shape`` [C, H, W].

        Raises:
            InputError: events that are no such pictures.
        """
        self.check_ready()
        if len(event_shape) != 3 or self.channels not in (0, event_shape[0]) or 0 in event_shape:
            expected = f"[{self.channels or 'channels'}, height, width]"
            raise InputError(
                f"encoder '{self.kind}': expected pictures {expected}, got {list(event_shape)}; choose "
                "another encoder, or train one on these data (flowprior train-encoder)"
            )
        sides = (-(-side // self.factor) for side in event_shape[1:])
        return torch.Size([self.latent_channels or event_shape[0], *sides])

    def identity(self) -> str:
        """Name and sha256 of the weights and of what else decides the latents.

        Raises:
            OptionError: it was made without the option that names its weights.
        """
        self.check_ready()
        return f"{self.kind} sha256 {self._digest}"

    @property
    def kind(self) -> str:
        """Registered name of what it is, for messages and files."""
        return self.name

    @property
    def spec(self) -> str:
        """Name and options to build it by, or its name alone where they cannot be read off it."""
        with suppress(CheckpointError):
            return spec_of(self.registry, self)
        return self.kind

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next((tensor.device for tensor in self.state_dict().values()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of its weights."""
        return next((tensor.dtype for tensor in self.state_dict().values()), torch.float32)

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> LatentEncoder:
        """The encoder whose ``state_dict`` is ``tensors``; of those that travel with a flow.

        Raises:
            InputError: tensors of something else.
        """
        raise InputError(f"encoder '{cls.__name__}' cannot be built of tensors; name the folder of its files")

    def check_ready(self) -> None:
        """Check that there are weights.

        Raises:
            OptionError: it was made without the option that names them.
        """

    def fix(self) -> None:
        """Fix the weights and go to evaluation mode; constructors end with it."""
        self.eval().requires_grad_(False)

    @abc.abstractmethod
    def _encode(self, x: Tensor) -> Tensor:
        """Latents of pictures whose sides :attr:`factor` divides."""

    @abc.abstractmethod
    def _decode(self, z: Tensor) -> Tensor:
        """Pictures of latents, whose sides are :attr:`factor` times as long."""

    def _settings(self) -> Mapping[str, Any]:
        """Plain values that decide the latents beside the tensors of the state."""
        return {}

    @cached_property
    def _digest(self) -> str:
        tensors = {name: value.float() for name, value in self.state_dict().items()}
        return settings_digest({"tensors": tensors_digest(tensors), **self._settings()})


@Encoder.register("identity")
class IdentityEncoder(LatentEncoder):
    """Pictures as they are: the latents are the pixels."""

    def _encode(self, x: Tensor) -> Tensor:
        return x

    def _decode(self, z: Tensor) -> Tensor:
        return z


def padded(x: Tensor, factor: int) -> Tensor:
    """x ``[B, C, H, W]`` with sides that ``factor`` divides, the pixels at the far edges repeated."""
    height, width = x.shape[2:]
    padding = (0, -width % factor, 0, -height % factor)
    return functional.pad(x, padding, mode="replicate") if any(padding) else x


def _listed(shape: torch.Size) -> str:
    return ", ".join(map(str, shape))
