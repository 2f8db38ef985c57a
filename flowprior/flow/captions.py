"""Texts in place of conditions: captions for embeddings, and names for labels.

A flow remembers the text encoder that made the embeddings of its data, and the names of their labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from flowprior.conditions import Condition, TokenStates
from flowprior.errors import CheckpointError, FlowpriorError, InputError, OptionError
from flowprior.models import Encoder, TextEncoder
from flowprior.models.encoders import check_texts, is_empty
from flowprior.registry import did_you_mean, spec_of

TEXT_ENCODER = "text_encoder"
"""Of a flow's metadata: ``{"spec": …, "identity": …}`` of the encoder that made its data's embeddings."""
TEXTUAL = ("embeddings", "tokens")
"""Kinds of conditions that texts may stand for."""
LABEL_NAMES = "label_names"
"""Of a flow's metadata: part -> names of its labels, in their order, as the data said them."""
WHOLE = ""
"""Stands for the name of a part where labels are the whole condition."""
MOST_NAMED = 30
"""Names that a message lists."""


class Captions:
    """The text encoder of a flow, read when a text first needs it.

    Args:
        condition: of the flow.
        metadata: of the flow; under :data:`TEXT_ENCODER` it says which encoder made the embeddings, and is
            told where another is chosen.
    """

    def __init__(self, condition: Condition, metadata: dict[str, Any]) -> None:
        self._condition, self._metadata = condition, metadata
        self._encoder: TextEncoder | None = None

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

    def label_names(self, part: str = WHOLE) -> list[str]:
        """Names of the labels of a part, or of the whole condition, in their order; empty where not known."""
        condition = self._condition if part == WHOLE else self._condition[part]
        return names_of(self._metadata, part, condition.size) if condition.kind == "labels" else []

    def choose(self, encoder: str | TextEncoder | None) -> None:
        """Take this encoder, by name, spec or as it is, and remember its spec; None forgets the former.

        The identity that the metadata holds stays, for the embeddings of the data do: an encoder of another
        one is refused when it is used.

        Raises:
            FlowpriorError: no text encoder, or one that cannot be had on this machine.
        """
        self._encoder = None if encoder is None else text_encoder(encoder)
        remembered = {"spec": None, "identity": self._remembered("identity")}
        if self._encoder is None:
            self._metadata.pop(TEXT_ENCODER, None)
            return
        with suppress(CheckpointError):  # One that is not registered is this process's alone.
            remembered["spec"] = spec_of(Encoder.registry, self._encoder)
        self._metadata[TEXT_ENCODER] = remembered

    def read(self, asked: Any, n: int | None, owner: str) -> Any:
        """``asked`` with conditions in place of texts, be they all of it or some of its parts.

        A list of texts is one for each sample; one text is for all of ``n`` samples, or of the rows of the
        other parts. Each text is encoded once. As labels they are names or numbers of these.

        Raises:
            InputError: texts for labels, no encoder that is known, or one of another width or identity than
                made the embeddings of the data.
            FlowpriorError: an encoder that cannot be had on this machine.
        """
        if isinstance(asked, Mapping):
            rows = [
                len(value)
                for value in asked.values()
                if not isinstance(value, str) and hasattr(value, "__len__")
            ]
            count = n if n is not None else rows[0] if rows else 1
            return {
                name: self._part(name, _repeated(value, count), owner) if are_texts(value) else value
                for name, value in asked.items()
            }
        if not are_texts(asked):
            return asked
        texts = _repeated(asked, 1 if n is None else n)
        if self._condition.kind == "labels":
            return labels_of(texts, self._condition, self.label_names(), owner)
        if self._condition.kind != "parts":
            return self._value(texts, self._condition, owner)
        others = [name for name, part in self._condition.parts if part.kind not in TEXTUAL]
        if others:
            example = ", ".join(f'"{name}": …' for name in self._condition.names)
            raise InputError(f"{owner}: got texts alone, but '{others[0]}' is none; pass {{{example}}}")
        return {name: self._value(texts, part, f"{owner}, '{name}'") for name, part in self._condition.parts}

    def negative(self, asked: Any, owner: str) -> Any:
        """The condition of one row that a negative caption is; of parts, those that are made of texts.

        Raises:
            FlowpriorError: as :meth:`read`.
        """
        if not isinstance(asked, str) or self._condition.kind != "parts":
            return self.read(asked, 1, owner)
        encoder = self._known_encoder(owner)
        sizes = {"embeddings": encoder.size, "tokens": encoder.token_size}
        parts = {name: part for name, part in self._condition.parts if sizes.get(part.kind) == part.size}
        if not parts:
            raise InputError(
                f"{owner}: got a negative text, but this flow's condition is {self._condition.describe()}"
            )
        return {name: self._value([asked], part, owner) for name, part in parts.items()}

    def _part(self, name: str, texts: Sequence[str], owner: str) -> Tensor | TokenStates:
        """What texts are as the part ``name``: labels by their names, or a condition of texts."""
        part = self._condition[name]
        if part.kind == "labels":
            return labels_of(texts, part, self.label_names(name), f"{owner}, '{name}'")
        return self._value(texts, part, owner)

    def check_identity(self, identity: str | None, owner: str) -> None:
        """Refuse embeddings of another encoder than made those of the data, as far as both are known.

        Raises:
            InputError: it is another one.
        """
        expected = self._remembered("identity")
        if expected is not None and identity is not None and identity != expected:
            raise InputError(
                f"{owner}: this flow was trained on embeddings of '{expected}', got encoder '{identity}'; "
                "name the one that made them (flow.text_encoder, --encoder)"
            )

    def _value(self, texts: Sequence[str], condition: Condition, owner: str) -> Tensor | TokenStates:
        """What texts are as a condition of embeddings or of token states; empty ones are its null value."""
        if condition.kind not in TEXTUAL:
            raise InputError(f"{owner}: got texts, but this flow's condition is {condition.describe()}")
        texts = check_texts(texts, owner)
        encoder = self._fitting_encoder(condition, owner)
        known: dict[str, tuple[Tensor, Tensor]] = {}
        if said := [text for text in dict.fromkeys(texts) if not is_empty(text)]:
            made = encoder.encode(said)
            for text, pooled, tokens, mask in zip(said, made.pooled, made.tokens, made.mask, strict=True):
                known[text] = (pooled, tokens[mask])
        null = torch.zeros(encoder.size), torch.zeros(1, encoder.token_size)
        found = [known.get(text, null) for text in texts]
        pooled, tokens = zip(*found, strict=True) if texts else ((), ())
        if condition.kind == "embeddings":
            return torch.stack(pooled) if texts else torch.zeros(0, encoder.size)
        if not texts:
            return TokenStates(torch.zeros(0, 1, encoder.token_size), torch.zeros(0, 1, dtype=torch.bool))
        states = pad_sequence(list(tokens), batch_first=True)
        lengths = torch.tensor([len(states) for states in tokens])
        return TokenStates(states, torch.arange(states.shape[1]) < lengths[:, None])

    def _fitting_encoder(self, condition: Condition, owner: str) -> TextEncoder:
        """The encoder, if it is the one that made the embeddings of the data, as far as that is known."""
        encoder = self._known_encoder(owner)
        size = encoder.size if condition.kind == "embeddings" else encoder.token_size
        if size != condition.size:
            raise InputError(
                f"{owner}: encoder '{encoder.name}' gives {size} numbers, this flow's condition is "
                f"{condition.describe()}; name the encoder that made them (flow.text_encoder, --encoder)"
            )
        self.check_identity(encoder.identity(), owner)
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

    def _remembered(self, key: str) -> str | None:
        found = self._metadata.get(TEXT_ENCODER)
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


def names_of(metadata: Mapping[str, Any], part: str, size: int) -> list[str]:
    """The names of the labels of a part; empty where the flow does not know one for each of ``size``.

    Labels that are the whole condition are :data:`WHOLE`; their names are those of the data's classes.
    """
    key, name = ("data", "class_names") if part == WHOLE else (LABEL_NAMES, part)
    stored = metadata.get(key)
    found = stored.get(name) if isinstance(stored, Mapping) else None
    is_whole = isinstance(found, list) and len(found) == size and all(isinstance(name, str) for name in found)
    return found if is_whole and isinstance(found, list) else []


def labels_of(words: Sequence[str], condition: Condition, names: Sequence[str], owner: str) -> Tensor:
    """Labels int64 ``[B]`` that words stand for, each a name or a number.

    Args:
        words: one for each sample. Where a name is a number itself, such as that of a cluster, words are
            names alone.
        condition: labels.
        names: of the labels, or none.
        owner: who asks, for messages.

    Raises:
        InputError: a word that is neither, or the name of several labels.
    """
    known = {name: label for label, name in enumerate(names)}
    ambiguous = any(name.isdecimal() for name in names)  # such a word might be meant as a label's own number
    numbers = "" if ambiguous else f", and their numbers 0..{condition.size - 1}"
    if numbers or not are_words(names):
        known |= {str(label): label for label in range(condition.size)}
    for word in words:
        if word not in known and not are_words(names):
            raise InputError(f"{owner}: got texts, but this flow's condition is {condition.describe()}")
        if word not in known:
            raise InputError(
                f"{owner}: no label is named '{word}'{did_you_mean(word, list(names))} known: "
                f"{_some(names)}{numbers}"
            )
        if names.count(word) > 1:
            raise InputError(
                f"{owner}: {names.count(word)} labels are named '{word}'; give their numbers, of which the "
                f"first is {names.index(word)}"
            )
    return torch.tensor([known[word] for word in words], dtype=torch.long)


def are_words(names: Sequence[str]) -> bool:
    """Whether names say more than the numbers of the labels."""
    return any(name != str(label) for label, name in enumerate(names))


def _repeated(texts: str | Sequence[str], count: int) -> Sequence[str]:
    return [texts] * count if isinstance(texts, str) else texts


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
