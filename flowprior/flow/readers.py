"""Words in place of conditions: names of labels, and texts that the reader of a flow makes conditions of.

A reader joins by an entry point of the group :data:`GROUP`. A flow finds its own by name: the reader ``NAME``
keeps its encoder under ``NAME_encoder`` in the flow's metadata. It is loaded when texts are first asked for.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, TypeGuard

import torch
from torch import Tensor

from flowprior.conditions import Condition, Conditions
from flowprior.errors import InputError
from flowprior.registry.options import did_you_mean
from flowprior.registry.plugins import load_point

LABEL_NAMES = "label_names"
"""The key of a flow's metadata with part -> names of its labels, in their order, as the data said them."""
WHOLE = ""
"""The name of the part where labels are the whole condition."""
MOST_NAMED = 30
"""The number of names that a message lists."""
GROUP = "flowprior.readers"
"""The entry-point group of readers, classes that derive from :class:`Reader`."""
ENDING = "_encoder"
"""The end of a reader's key in a flow's metadata: ``{"spec": …, "identity": …}`` of the data's encoder."""
TEXT = "text"
"""The reader of a flow whose metadata name none."""
TEXT_ENCODER = TEXT + ENDING
"""The key of that reader."""
TEXTUAL = ("embeddings", "tokens")
"""Kinds of conditions that texts may stand for."""


class Reader(abc.ABC):
    """Base class of readers, each of which makes conditions of texts for one flow.

    Args:
        condition: of the flow.
        metadata: of the flow; the reader's own key says which encoder made the conditions of its data, and is
            told where another is chosen.

    Attributes:
        name: of its entry point.
    """

    name: ClassVar[str]

    def __init__(self, condition: Condition, metadata: dict[str, Any]) -> None:
        self.condition, self.metadata = condition, metadata

    @property
    @abc.abstractmethod
    def encoder(self) -> Any:
        """The encoder that was chosen, or that the metadata name; None where there is neither.

        Raises:
            FlowpriorError: it cannot be had on this machine; the message says what is missing.
        """

    @abc.abstractmethod
    def choose(self, encoder: Any) -> None:
        """Take this encoder, by name, spec or as it is, and remember its spec; None forgets the former.

        Raises:
            FlowpriorError: no such encoder, or one that cannot be had on this machine.
        """

    @abc.abstractmethod
    def value(self, texts: Sequence[str], condition: Condition, owner: str) -> Conditions:
        """Return what texts are as a condition of embeddings or of token states, one row each.

        Raises:
            InputError: no encoder that is known, or another one than made the conditions of the data.
            FlowpriorError: an encoder that cannot be had on this machine.
        """

    @abc.abstractmethod
    def negative(self, text: str, owner: str) -> dict[str, Conditions]:
        """Return the parts of the condition that a text to guide away from stands for, one row each.

        Raises:
            FlowpriorError: as :meth:`value`.
        """


class Words:
    """The words of a flow's condition: labels by their names, other texts by its reader.

    Args:
        condition: of the flow.
        metadata: of the flow, which name its reader and its labels.
    """

    def __init__(self, condition: Condition, metadata: dict[str, Any]) -> None:
        self._condition, self._metadata = condition, metadata

    @cached_property
    def reader(self) -> Reader:
        """The reader that the metadata name, else that of texts.

        Raises:
            OptionError: no installed package has it.
        """
        made: type[Reader] = load_point(GROUP, _remembered(self._metadata)[0], "a condition of texts")
        return made(self._condition, self._metadata)

    def label_names(self, part: str = WHOLE) -> list[str]:
        """Return the names of the labels of a part, or of the whole condition; empty where not known."""
        condition = self._condition if part == WHOLE else self._condition[part]
        return names_of(self._metadata, part, condition.size) if condition.kind == "labels" else []

    def read(self, asked: Any, n: int | None, owner: str) -> Any:
        """Return ``asked`` with conditions in place of texts, be they all of it or some of its parts.

        A list of texts is one for each sample; one text is for all of ``n`` samples, or of the rows of the
        other parts. As labels they are names or numbers of these.

        Raises:
            InputError: texts for another kind of condition, or as :meth:`Reader.value`.
            OptionError: no installed package has the flow's reader.
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
        if self._condition.kind != "parts":
            return self._part(WHOLE, texts, owner)
        others = [name for name, part in self._condition.parts if part.kind not in TEXTUAL]
        if others:
            example = ", ".join(f'"{name}": …' for name in self._condition.names)
            raise InputError(f"{owner}: got texts alone, but '{others[0]}' is none; pass {{{example}}}")
        return {name: self._part(name, texts, f"{owner}, '{name}'") for name in self._condition.names}

    def negative(self, asked: Any, owner: str) -> Any:
        """Return the condition of one row that a negative text is; of parts, those that are made of texts.

        Raises:
            FlowpriorError: as :meth:`read`.
        """
        if isinstance(asked, str) and self._condition.kind == "parts":
            return self.reader.negative(asked, owner)
        return self.read(asked, 1, owner)

    def _part(self, name: str, texts: Sequence[str], owner: str) -> Conditions:
        """Return what texts are as a part or the whole: labels by their names, or a condition of texts."""
        part = self._condition if name == WHOLE else self._condition[name]
        if part.kind == "labels":
            asking = owner if name == WHOLE else f"{owner}, '{name}'"
            return labels_of(texts, part, self.label_names(name), asking)
        if part.kind not in TEXTUAL:
            raise InputError(f"{owner}: got texts, but this flow's condition is {part.describe()}")
        return self.reader.value(texts, part, owner)


def are_texts(cond: Any) -> TypeGuard[str | Sequence[str]]:
    """Return whether ``cond`` is one text or a list of some, and no condition."""
    texts = cond if isinstance(cond, list | tuple) else [cond]
    return bool(texts) and all(isinstance(text, str) for text in texts)


def remembered(metadata: Mapping[str, Any], key: str) -> str | None:
    """Return what a flow's metadata say of the encoder of its data: its ``spec`` or its ``identity``."""
    value = _remembered(metadata)[1].get(key)
    return value if isinstance(value, str) else None


def check_identity(metadata: Mapping[str, Any], identity: str | None, owner: str) -> None:
    """Refuse conditions of another encoder than a flow's metadata name, as far as both are known.

    Raises:
        InputError: it is another one.
    """
    expected = remembered(metadata, "identity")
    if expected is not None and identity is not None and identity != expected:
        raise InputError(
            f"{owner}: this flow was trained on embeddings of '{expected}', got encoder '{identity}'; "
            "name the one that made them (flow.text_encoder, --encoder)"
        )


def _remembered(metadata: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the name of a flow's reader, and what its metadata say of the encoder."""
    for key, value in sorted(metadata.items(), key=lambda item: item[0] != TEXT_ENCODER):
        if key.endswith(ENDING) and isinstance(value, Mapping) and {"spec", "identity"} & value.keys():
            return key.removesuffix(ENDING), value
    return TEXT, {}


def _repeated(texts: str | Sequence[str], count: int) -> Sequence[str]:
    return [texts] * count if isinstance(texts, str) else texts


def names_of(metadata: Mapping[str, Any], part: str, size: int) -> list[str]:
    """Return the names of the labels of a part; empty where the flow does not know one for each of ``size``.

    Labels that are the whole condition are :data:`WHOLE`; their names are those of the data's classes.
    """
    key, name = ("data", "class_names") if part == WHOLE else (LABEL_NAMES, part)
    stored = metadata.get(key)
    found = stored.get(name) if isinstance(stored, Mapping) else None
    is_whole = isinstance(found, list) and len(found) == size and all(isinstance(name, str) for name in found)
    return found if is_whole and isinstance(found, list) else []


def labels_of(words: Sequence[str], condition: Condition, names: Sequence[str], owner: str) -> Tensor:
    """Return the labels int64 ``[B]`` that words stand for, each a name or a number.

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
            raise InputError(f"{owner}: expected {condition.describe()}, got '{word}'")
        if word not in known:
            more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            raise InputError(
                f"{owner}: no label is named '{word}'{did_you_mean(word, list(names))} known: "
                f"{', '.join(names[:MOST_NAMED])}{more}{numbers}"
            )
        if names.count(word) > 1:
            raise InputError(
                f"{owner}: {names.count(word)} labels are named '{word}'; give their numbers, of which the "
                f"first is {names.index(word)}"
            )
    return torch.tensor([known[word] for word in words], dtype=torch.long)


def are_words(names: Sequence[str]) -> bool:
    """Return whether names say more than the numbers of the labels."""
    return any(name != str(label) for label, name in enumerate(names))
