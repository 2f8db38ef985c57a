"""The model card of a saved flow: ``README.md`` beside ``flow.json``, as Hugging Face's site shows it.

Its facts are those of ``flow.json``: the parts, the configuration, and what training wrote down of its data.
Its last line holds the sha256 of the lines above. A card of which that holds is written anew with every save;
a ``README.md`` that somebody has edited or written is kept. No flow is loaded by its card.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowprior.errors import CheckpointError
from flowprior.extensions.hub.contents import body_of, head_of, is_word
from flowprior.flow.description import read_description, weights_digest
from flowprior.storage.reading import read_text
from flowprior.storage.writing import remove_files, write_text

if TYPE_CHECKING:
    from flowprior.evaluation import Result

CARD = "README.md"
"""The name of the card's file."""
LIMIT = 1 << 20
"""The size of the largest card that is read, in bytes."""
MARK = "<!-- flowprior: "
"""The beginning of the last line of a card, and of comments in cards of older versions."""


def write_card(folder: Path, description: Mapping[str, Any], evaluation: Result | None = None) -> None:
    """Write the card of the flow in ``folder``, in place of the one before.

    Where somebody has edited that one, or it cannot be written, one warning says so.

    Args:
        folder: the folder of the saved flow.
        description: its ``flow.json``, with its files.
        evaluation: the evaluation of this flow.
    """
    path = folder / CARD
    try:
        if path.exists() and unsealed(read_card(path)) is None:
            _warn(folder, f"{path} is your own or was edited, and is kept; remove it for a new one")
        else:
            write_text(path, sealed(card_of(description, evaluation)))
    except CheckpointError as error:
        _warn(folder, str(error))


def card_of(description: Mapping[str, Any], evaluation: Result | None = None) -> str:
    """Return the text of a card: its head in YAML, the training, how to draw samples, and the evaluation."""
    head, body = head_of(description), [body_of(description)]
    if evaluation is not None:
        from flowprior.extensions.hub.evaluation import metrics_of, section_of  # only here: saving is fast

        head["metrics"] = [name for name in metrics_of(evaluation) if is_word(name)]
        body += [section_of(evaluation), f"weights sha256 {weights_digest(description)}"]
    yaml = "\n".join(f"{name}: {json.dumps(value)}" for name, value in head.items())  # JSON is YAML
    return "\n\n".join([f"---\n{yaml}\n---", *body]) + "\n"


def add_evaluation(folder: Path, evaluation: Result, digest: str | None) -> None:
    """Put the results of an evaluation into the card of a saved flow, in place of earlier ones.

    Where the flow is another one by now, or the card is not written, one warning says so.

    Args:
        folder: the folder of the saved flow.
        evaluation: the evaluation of this flow alone.
        digest: sha256 of its weights when it was read; None where it is no saved flow, which has no card.
    """
    if digest is None:
        return None
    try:
        description = read_description(folder)
    except CheckpointError as error:
        return _warn(folder, str(error))
    if weights_digest(description) != digest:
        return _warn(folder, "the flow was replaced meanwhile; evaluate it again")
    return write_card(folder, description, evaluation)


def sealed(text: str) -> str:
    """Return a text with a last line by which :func:`unsealed` detects edits."""
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
    return f"{text}\n{MARK}sha256 of the lines above: {digest} -->\n"


def unsealed(card: str) -> str | None:
    """Return the text of a card that nobody has edited; None for any other card."""
    text = card.rpartition(f"\n{MARK}")[0]
    return text if sealed(text) == card else None


def read_card(path: Path | str) -> str:
    """Return the text of a file with the line endings that flowprior writes.

    Raises:
        CheckpointError: it cannot be read, or is too long for a card.
    """
    return read_text(path, LIMIT).replace("\r\n", "\n")


def remove_card(folder: Path) -> None:
    """Remove the card of a flow that is removed, unless somebody has edited it."""
    with suppress(CheckpointError):
        if (folder / CARD).exists() and MARK in read_card(folder / CARD):
            remove_files([folder / CARD])


def _warn(folder: Path, reason: str) -> None:
    warnings.warn(f"the model card of {folder} is not written: {reason}", RuntimeWarning, stacklevel=4)
