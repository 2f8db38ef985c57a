"""Captions in place of embeddings: the text encoder that a flow remembers, and what it makes of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeGuard

import torch
from torch import Tensor

from flowprior.conditions import Condition
from flowprior.encoders import Encoder, TextEncoder
from flowprior.encoders.text import check_texts
from flowprior.errors import CheckpointError, FlowpriorError, InputError, OptionError
from flowprior.registry import spec_of

KEY = "text_encoder"
"""Of a flow's metadata: ``{"spec": …, "identity": …}`` of the encoder that made its data's embeddings."""
MOST_KEPT = 4096
"""Captions whose embeddings are kept."""

MEANT = {
    "guidance_scale": "guidance",
    "num_inference_steps": "nfe, which counts evaluations of the velocity and not steps",
    "negative_prompt": "negative",
    "num_images_per_prompt": "one text with n, or a list that repeats it",
    "prompt": "the texts as cond, the first argument",
}
"""Words of diffusers, and what takes their place."""


class Captions:
    """The text encoder of a flow, read when a text first needs it.

    Args:
        condition: of the flow.
        metadata: of the flow; under :data:`KEY` it says which encoder made the embeddings, and is told where
            another is chosen.
    """

    def __init__(self, condition: Condition, metadata: dict[str, Any]) -> None:
        self._condition, self._metadata = condition, metadata
        self._encoder: TextEncoder | None = None
        self._known: dict[str, Tensor] = {}

    @property
    def encoder(self) -> TextEncoder | None:
        """The encoder that was chosen, or that the metadata names; None where there is neither.

        Raises:
            FlowpriorError: it cannot be had on this machine; the message says what is missing.
        """
        spec = self._remembered("spec")
        if self._encoder is None and spec is not None:
            self._encoder = text_encoder(spec)
        return self._encoder

    def choose(self, encoder: str | TextEncoder | None) -> None:
        """Take this encoder, by name, spec or as it is, and remember its spec; None forgets the former.

        The identity that the metadata holds stays, for the embeddings of the data do: an encoder of another
        one is refused when it is used.

        Raises:
            FlowpriorError: no text encoder, or one that cannot be had on this machine.
        """
        self._encoder = None if encoder is None else text_encoder(encoder)
        self._known.clear()
        remembered = {"spec": None, "identity": self._remembered("identity")}
        if self._encoder is None:
            self._metadata.pop(KEY, None)
            return
        with suppress(CheckpointError):  # One that is not registered is this process's alone.
            remembered["spec"] = spec_of(Encoder.registry, self._encoder)
        self._metadata[KEY] = remembered

    def embed(self, texts: Sequence[str], owner: str) -> Tensor:
        """Embeddings ``[B, E]``, float32, of B texts; each text is encoded once.

        Raises:
            InputError: texts that are none, a flow whose condition is no embedding, no encoder that is known,
                or one of another width or identity than made the embeddings of the data.
            FlowpriorError: an encoder that cannot be had on this machine.
        """
        texts = check_texts(texts, owner)
        encoder = self._fitting_encoder(owner)
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if len(self._known) + len(new) > MOST_KEPT:
            self._known.clear()
            new = list(dict.fromkeys(texts))
        if new:
            self._known |= zip(new, encoder.encode(new).pooled, strict=True)
        return torch.stack([self._known[text] for text in texts]) if texts else torch.zeros(0, encoder.size)

    def _fitting_encoder(self, owner: str) -> TextEncoder:
        """The encoder, if it is the one that made the embeddings of the data, as far as that is known."""
        if self._condition.kind != "embeddings":
            raise InputError(f"{owner}: got texts, but this flow's condition is {self._condition.describe()}")
        encoder = self._available_encoder(owner)
        if encoder is None:
            raise InputError(
                f"{owner}: got texts, but this flow does not say which encoder made its embeddings; name it: "
                'flow.text_encoder = "minilm" (--encoder minilm)'
            )
        if self._known:
            return encoder  # It was checked when it encoded them.
        if encoder.size != self._condition.size:
            raise InputError(
                f"{owner}: encoder '{encoder.name}' gives {encoder.size} numbers, this flow's condition is "
                f"{self._condition.describe()}; name the encoder that made them (flow.text_encoder, "
                "--encoder)"
            )
        identity, expected = encoder.identity(), self._remembered("identity")
        if expected is not None and identity != expected:
            raise InputError(
                f"{owner}: this flow was trained on embeddings of '{expected}', got encoder '{identity}'; "
                "name the one that made them (flow.text_encoder, --encoder)"
            )
        return encoder

    def _available_encoder(self, owner: str) -> TextEncoder | None:
        try:
            return self.encoder
        except FlowpriorError as error:
            raise type(error)(
                f"{owner}: the text encoder that this flow remembers cannot be had: {error}; or say "
                "where it is now (flow.text_encoder, --encoder)"
            ) from error

    def _remembered(self, key: str) -> str | None:
        found = self._metadata.get(KEY)
        value = found.get(key) if isinstance(found, Mapping) else None
        return value if isinstance(value, str) else None


def text_encoder(encoder: str | TextEncoder) -> TextEncoder:
    """A text encoder by name, by spec, or as it is.

    Raises:
        UnknownComponentError: no encoder of that name.
        OptionError: options that it cannot take, no encoder of texts, or a package that is not installed.
        DataNotFoundError: a folder that is not there.
    """
    built = Encoder.registry.resolve(encoder)
    if not isinstance(built, TextEncoder):
        raise OptionError(f"encoder '{built.name}' encodes no texts; choose another, such as minilm")
    return built


def are_texts(cond: Any) -> TypeGuard[str | Sequence[str]]:
    """Whether ``cond`` is one text or a list of some, and no condition."""
    if isinstance(cond, str):
        return True
    return isinstance(cond, list | tuple) and bool(cond) and all(isinstance(text, str) for text in cond)


def refuse_words_of_diffusers(owner: str, options: Mapping[str, Any]) -> None:
    """Refuse options under the names that diffusers gives them.

    Raises:
        OptionError: it says what the option is called here.
    """
    for word in options:
        if word in MEANT:
            raise OptionError(f"{owner}: '{word}' is a word of diffusers; pass {MEANT[word]}")
