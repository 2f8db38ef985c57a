"""Names of labels: those that a flow remembers of its data, and the labels that words stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Condition
from flowprior.errors import InputError
from flowprior.registry import did_you_mean

LABEL_NAMES = "label_names"
"""The key of a flow's metadata with part -> names of its labels, in their order, as the data said them."""
WHOLE = ""
"""The name of the part where labels are the whole condition."""
MOST_NAMED = 30
"""The number of names that a message lists."""


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
            raise InputError(f"{owner}: got texts, but this flow's condition is {condition.describe()}")
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
