"""The reader of captions, which encodes texts by the encoder of the training data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Condition, Conditions, TokenStates
from flowprior.errors import FlowpriorError, InputError
from flowprior.extensions.text.encoders import padded_rows
from flowprior.flow.readers import TEXT, TEXT_ENCODER, Reader, check_identity, remembered
from flowprior.models import TextEncoder
from flowprior.models.encoders import check_texts, is_empty, text_encoder


class TextReader(Reader):
    """The text encoder of a flow, loaded when a text is first encoded.

    The arguments are those of :class:`flowprior.flow.readers.Reader`.
    """

    name = TEXT

    def __init__(self, condition: Condition, metadata: dict[str, Any]) -> None:
        super().__init__(condition, metadata)
        self._encoder: TextEncoder | None = None

    @property
    def encoder(self) -> TextEncoder | None:
        """The encoder that was chosen, else the one in the metadata, else None.

        Raises:
            FlowpriorError: it cannot be had on this machine; the message says what is missing.
        """
        spec = remembered(self.metadata, "spec")
        if self._encoder is None and spec is not None:
            self._encoder = text_encoder(spec)
        return self._encoder

    def choose(self, encoder: str | TextEncoder | None) -> None:
        """Set the encoder, by name, spec or instance; None removes it.

        The identity that the metadata hold stays, for the embeddings of the data do: an encoder of another
        one is refused when it is used.

        Raises:
            FlowpriorError: no text encoder, or one that cannot be had on this machine.
        """
        self._encoder = None if encoder is None else text_encoder(encoder)
        if self._encoder is None:
            self.metadata.pop(TEXT_ENCODER, None)
            return
        identity = remembered(self.metadata, "identity")
        self.metadata[TEXT_ENCODER] = {"spec": self._encoder.spec, "identity": identity}

    def value(self, texts: Sequence[str], condition: Condition, owner: str) -> Conditions:
        """Encode texts as a condition of embeddings or of token states.

        Each text is encoded once; empty ones are the null condition.
        """
        texts = check_texts(texts, owner)
        encoder = self._fitting_encoder(condition, owner)
        different = [text for text in dict.fromkeys(texts) if not is_empty(text)]
        known: dict[str, tuple[Tensor, Tensor]] = {}
        if different:
            made = encoder.encode(different)
            states = [tokens[mask] for tokens, mask in zip(made.tokens, made.mask, strict=True)]
            known = dict(zip(different, zip(made.pooled, states, strict=True), strict=True))
        null = torch.zeros(encoder.size), torch.zeros(1, encoder.token_size)
        # The null condition comes last, and is left out again, so that there is a row also of no texts.
        pooled, tokens = zip(*(known.get(text, null) for text in texts), null, strict=True)
        if condition.kind == "embeddings":
            return torch.stack(pooled)[:-1]
        states, mask = padded_rows(tokens)
        return TokenStates(states[:-1], mask[:-1])

    def negative(self, text: str, owner: str) -> dict[str, Conditions]:
        """Return the parts of the condition that a caption to guide away from stands for."""
        encoder = self._known_encoder(owner)
        sizes = {"embeddings": encoder.size, "tokens": encoder.token_size}
        parts = {name: part for name, part in self.condition.parts if sizes.get(part.kind) == part.size}
        if not parts:
            raise InputError(
                f"{owner}: got a negative text, but this flow's condition is {self.condition.describe()}"
            )
        return {name: self.value([text], part, owner) for name, part in parts.items()}

    def _fitting_encoder(self, condition: Condition, owner: str) -> TextEncoder:
        """Return the encoder after a check that it made the training data's embeddings, if that is known."""
        encoder = self._known_encoder(owner)
        size = encoder.size if condition.kind == "embeddings" else encoder.token_size
        if size != condition.size:
            raise InputError(
                f"{owner}: encoder '{encoder.name}' gives {size} numbers, this flow's condition is "
                f"{condition.describe()}; name the encoder that made them (flow.text_encoder, --encoder)"
            )
        check_identity(self.metadata, encoder.identity(), owner)
        return encoder

    def _known_encoder(self, owner: str) -> TextEncoder:
        try:
            encoder = self.encoder
        except FlowpriorError as error:
            raise type(error)(
                f"{owner}: the text encoder that this flow remembers cannot be had: {error}; or say "
                "where it is now (flow.text_encoder, --encoder)"
            ) from error
        if encoder is None:
            raise InputError(
                f"{owner}: got texts, but this flow does not say which encoder made its embeddings; name it: "
                'flow.text_encoder = "minilm" (--encoder minilm)'
            )
        return encoder
