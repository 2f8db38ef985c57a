"""Encoders: what turns captions or images into the numbers that priors and networks work on.

What was encoded fits only what is encoded by the same weights: each encoder has an identity with their
sha256. Text encoders give one embedding of a caption, for priors, and its token states, for cross-attention.
Latent encoders turn images into a smaller grid of numbers in which a flow lives, and back.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowprior.conditions import Conditions
from flowprior.errors import CheckpointError, InputError, OptionError
from flowprior.registry import Registered, Registry
from flowprior.registry.plugins import load_point
from flowprior.registry.registry import spec_of
from flowprior.storage.digests import settings_digest, tensors_digest
from flowprior.streams.data import Data

LATENTS = "flowprior.latents"
"""The entry-point group of what keeps latents: ``encoded`` makes data of them, ``remove`` empties a cache."""

LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""Options with which transformers reads a folder: it downloads nothing, and runs no code that lies in it."""


class Encoder(Registered, abc.ABC):
    """Base class of encoders; the constructor stores its options, the weights are read at the first use.

    Nothing is ever downloaded: weights come from installed packages or from folders of the user's.
    """

    registry: ClassVar[Registry[Any]] = Registry("encoder", "flowprior.encoders")

    @abc.abstractmethod
    def identity(self) -> str:
        """Return the name, version and sha256 of the weights: equal for equal encodings, and only then."""

    @property
    def spec(self) -> str | None:
        """Return the name and options to build it by; None where it is not registered."""
        with suppress(CheckpointError):
            return spec_of(self.registry, self)


@dataclass(frozen=True)
class TextEncoding:
    """The encoding of B texts.

    Attributes:
        pooled: one embedding for each text, float32 ``[B, E]``.
        tokens: states of the tokens, float32 ``[B, T, F]`` for the longest text's T tokens; zeros at padding.
        mask: bool ``[B, T]``, True for a real token; what is False is never to be attended to.
    """

    pooled: Tensor
    tokens: Tensor
    mask: Tensor


class TextEncoder(Encoder):
    """Base class of text encoders.

    What a text is encoded to depends on it alone, not on the other texts of the call. The empty text is a
    text like any other here; data and flows take the null condition in its place.
    """

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """The size E of a text's embedding."""

    @property
    @abc.abstractmethod
    def token_size(self) -> int:
        """The size F of a token's state."""

    def encode(self, texts: Sequence[str]) -> TextEncoding:
        """Encode B texts, on the CPU and without gradients.

        A text of more tokens than the model takes is cut to as many, with one warning for all such texts.

        Raises:
            InputError: something else than a list of valid texts.
            OptionError: a package that is missing; the message says which to install.
            DataNotFoundError: weights that are missing.
        """
        return self._encode(check_texts(texts, f"encoder '{self.name}'"))

    @abc.abstractmethod
    def _encode(self, texts: list[str]) -> TextEncoding:
        """The encoding of checked texts, of which there may be none."""


def text_encoder(encoder: str | TextEncoder) -> TextEncoder:
    """Return a text encoder by name, by spec, or as it is.

    Raises:
        UnknownComponentError: no encoder of that name.
        OptionError: options that it cannot take, no encoder of texts, or a package that is not installed.
        DataNotFoundError: a folder that is not there.
    """
    built = Encoder.registry.resolve(encoder)
    if not isinstance(built, TextEncoder):
        raise OptionError(f"encoder '{built.name}' encodes no texts; choose another, such as minilm")
    return built


class LatentEncoder(nn.Module, Encoder):
    """Base class of latent encoders: z = encode(x), x ≈ decode(z), both without chance.

    A module in evaluation mode whose weights are fixed. Sides of an image that :attr:`factor` does not
    divide are padded at the far edges with the pixels there, and cropped by :meth:`decode`. Implementations
    give :meth:`_encode` and :meth:`_decode`, and set the attributes.

    Attributes:
        channels: C of the images that it takes; 0 takes any.
        latent_channels: c of the latents; 0 keeps those of the images.
        factor: by how much it divides height and width.
        travels: its weights are small, and lie with every flow; else a flow names the folder and the digest.
    """

    travels: ClassVar[bool] = False
    keeps_density: ClassVar[bool] = False
    """True if it is invertible and has :meth:`log_scale`."""
    channels: int = 0
    latent_channels: int = 0
    factor: int = 1

    def encode(self, x: Tensor) -> Tensor:
        """Latents z ``[B, c, h, w]`` of images x ``[B, C, H, W]`` in [-1, 1]: the mean of the posterior.

        Raises:
            InputError: images of another shape.
        """
        self.latent_shape(x.shape[1:])
        return self._encode(padded(x, self.factor))

    def decode(self, z: Tensor, event_shape: torch.Size | None = None) -> Tensor:
        """Return images x ``[B, C, H, W]`` of latents z ``[B, c, h, w]``, not clamped.

        Args:
            z: latents.
            event_shape: [C, H, W] of the images that were encoded, to crop what was padded; None keeps all.

        Raises:
            InputError: latents of another shape.
        """
        if event_shape is None:
            event_shape = torch.Size([self.channels or z.shape[1], *(self.factor * n for n in z.shape[2:])])
        expected = self.latent_shape(event_shape)
        if z.shape[1:] != expected:
            raise InputError(
                f"encoder '{self.kind}': expected latents [B, {', '.join(map(str, expected))}], "
                f"got {list(z.shape)}"
            )
        return self._decode(z)[..., : event_shape[1], : event_shape[2]]

    def encode_condition(self, cond: Conditions | None) -> Conditions | None:
        """Return what the flow gets for conditions of the data: themselves, unless an encoder says more."""
        return cond

    def log_scale(self) -> Tensor:
        """Return log |det ∂x/∂z| of :meth:`decode`, which is the same everywhere."""
        raise NotImplementedError

    def encoded(self, data: Data, folder: Path | str | None = None) -> EncodedData:
        """Return the latents of images as data, with the conditions of ``data``.

        Args:
            data: images [C, H, W] in [-1, 1].
            folder: of the cache: absent, empty, or one of the same data and weights; None keeps the latents
                in memory.

        Raises:
            InputError: data that are no images, or none that the encoder takes.
            OptionError: an encoder without weights, or no package that keeps latents.
        """
        return load_point(LATENTS, "encoded", f"encoder '{self.kind}'")(data, self, folder)

    def latent_shape(self, event_shape: torch.Size) -> torch.Size:
        """Return the shape [c, h, w] of the latents of images of ``event_shape`` [C, H, W].

        Raises:
            InputError: events that are no such images.
        """
        self.check_ready()
        if len(event_shape) != 3 or self.channels not in (0, event_shape[0]) or 0 in event_shape:
            raise InputError(
                f"encoder '{self.kind}': expected images [{self.channels or 'channels'}, height, width], "
                f"got {list(event_shape)}; choose another encoder, or train one on these data (flowprior "
                "train-encoder)"
            )
        sides = (-(-side // self.factor) for side in event_shape[1:])
        return torch.Size([self.latent_channels or event_shape[0], *sides])

    def identity(self) -> str:
        """Return the name and sha256 of the weights and of what else decides the latents.

        Raises:
            OptionError: it was made without the option that names its weights.
        """
        self.check_ready()
        return f"{self.kind} sha256 {self._digest}"

    @property
    def kind(self) -> str:
        """Return the registered name of what it is, for messages and files."""
        return self.name

    @property
    def spec(self) -> str:
        """Return the name and options to build it by, or its name alone where they cannot be read off it."""
        return super().spec or self.kind

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return next((tensor.device for tensor in self.state_dict().values()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """Return the floating-point type of its weights."""
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
        """Return latents of images whose sides :attr:`factor` divides."""

    @abc.abstractmethod
    def _decode(self, z: Tensor) -> Tensor:
        """Return images of latents, whose sides are :attr:`factor` times as long."""

    def _settings(self) -> Mapping[str, Any]:
        """Return plain values that decide the latents beside the tensors of the state."""
        return {}

    @cached_property
    def _digest(self) -> str:
        tensors = {name: value.float() for name, value in self.state_dict().items()}
        return settings_digest({"tensors": tensors_digest(tensors), **self._settings()})


class EncodedData(Data):
    """Base class of data in latents: the latents of images, with the conditions of the images.

    Attributes:
        images: what is encoded.
        encoder: gives the latents.
    """

    images: Data
    encoder: LatentEncoder

    @abc.abstractmethod
    def prepare(self, notify: Callable[[str], None] | None = None) -> Self:
        """Encode all images, or open the cache that holds them; ``notify`` gets a line of what is made.

        Raises:
            CheckpointError: the cache is one of other data or weights, damaged, or cannot be written.
            OptionError: another process is encoding there.
            InputError: images that cannot be read, or latents that are not finite.
        """


def is_empty(text: object) -> bool:
    """Return whether ``text`` is the empty caption, which is the null condition: a text without a letter."""
    return isinstance(text, str) and not text.strip()


def check_texts(texts: Sequence[str], owner: str) -> list[str]:
    """Return ``texts`` as a list of valid texts.

    Raises:
        InputError: one text alone, something else, or a text with half of a surrogate pair.
    """
    if isinstance(texts, str):
        raise InputError(f"{owner}: expected a list of texts, got one text; write [text]")
    if not isinstance(texts, Sequence):
        raise InputError(f"{owner}: expected a list of texts, got {type(texts).__name__}")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"{owner}: expected texts, got {type(text).__name__} at index {number}")
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InputError(f"{owner}: the text at index {number} is not valid Unicode; check its encoding")
    return list(texts)


def padded(x: Tensor, factor: int) -> Tensor:
    """Return x ``[B, C, H, W]`` with sides that ``factor`` divides, the pixels at the far edges repeated."""
    height, width = x.shape[2:]
    padding = (0, -width % factor, 0, -height % factor)
    return functional.pad(x, padding, mode="replicate") if any(padding) else x
