"""Encoder: what turns captions or pictures into the numbers that priors and networks work on.

What was encoded fits only what is encoded by the same weights: each encoder has an identity with their
sha256. Text encoders give one embedding of a caption, for priors, and its token states, for cross-attention.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from flowprior.errors import InputError
from flowprior.registry import Registered, Registry


class Encoder(Registered, abc.ABC):
    """Base class of encoders; the constructor stores its options, the weights are read at the first use.

    Nothing is ever downloaded: weights come from installed packages or from folders of the user's.
    """

    registry: ClassVar[Registry[Any]] = Registry("encoder", "flowprior.encoders")

    @abc.abstractmethod
    def identity(self) -> str:
        """Name, version and sha256 of the weights: equal for equal encodings, and only then."""


@dataclass(frozen=True)
class TextEncoding:
    """What a text encoder makes of B texts.

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
        """Numbers E of a text's embedding."""

    @property
    @abc.abstractmethod
    def token_size(self) -> int:
        """Numbers F of a token's state."""

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


def is_empty(text: object) -> bool:
    """Whether ``text`` is the empty caption, which is the null condition: a text without a letter."""
    return isinstance(text, str) and not text.strip()


def check_texts(texts: Sequence[str], owner: str) -> list[str]:
    """``texts`` as a list of valid texts.

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
