"""The model card of a saved flow: ``README.md`` beside ``flow.json``, as Hugging Face's site shows it.

What flowprior writes into it, and writes anew, stands in sections (:mod:`flowprior.flow.card_text`). A
``README.md`` without them is somebody else's and is left alone. No flow is loaded by its card.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from flowprior.errors import CheckpointError
from flowprior.flow.card import body_of, head_of, is_word, weights_digest
from flowprior.flow.card_text import EVALUATION, METRICS, TRAINING, section_in, with_head, with_section
from flowprior.flow.description import FILES, read_description
from flowprior.storage import read_text, remove_files, write_text

CARD = "README.md"
LIMIT = 1 << 20
"""Longest card that is read, in bytes."""


def write_card(folder: Path, description: Mapping[str, Any]) -> None:
    """Write the card of the flow in ``folder``, or its part of a card that stands there.

    What an evaluation found stays only where it is of the same weights. Where the card cannot be written, one
    warning says so.

    Args:
        folder: of the saved flow.
        description: its ``flow.json``, with its files.
    """

    def renewed(old: str | None) -> str:
        old = old or ""
        found = section_in(old, EVALUATION)
        if found is not None and f"weights sha256 {weights_digest(description)}" not in found:
            old = with_head(with_section(old, EVALUATION, None), {}, (METRICS,))
        return with_head(with_section(old, TRAINING, body_of(description)), head_of(description))

    _update(folder, renewed)


class Evaluation(Protocol):
    """What of an evaluation goes into a card; a :class:`flowprior.evaluation.Result`."""

    def card_section(self) -> str: ...

    def card_metrics(self) -> list[str]: ...


def add_evaluation(folder: Path, evaluation: Evaluation, digest: str | None) -> None:
    """Put what an evaluation found into the card of a saved flow, in place of what is there.

    Args:
        folder: of the saved flow.
        evaluation: of this flow alone.
        digest: sha256 of its weights when it was read; None where it is no saved flow, which has no card.
    """
    if digest is not None:
        metrics = [name for name in evaluation.card_metrics() if is_word(name)]
        add_to_card(folder, EVALUATION, evaluation.card_section(), digest, {METRICS: metrics})


def add_to_card(
    folder: Path, name: str, text: str, digest: str, head: Mapping[str, Any] | None = None
) -> None:
    """Put a section into the card of the flow in ``folder``, in place of the one of that name.

    Where there is no card of ours, the flow is another one by now, or the card cannot be written, one warning
    says so.

    Args:
        folder: of the saved flow.
        name: of the section.
        text: Markdown.
        digest: sha256 of the weights that it is about.
        head: keys of the head that belong to it.
    """
    try:
        description = read_description(folder)
    except CheckpointError as error:
        return _warn(folder, str(error))
    if weights_digest(description) != digest:
        return _warn(folder, "the flow was replaced meanwhile; evaluate it again")
    if not (folder / CARD).exists():
        write_card(folder, description)  # of an older version, which wrote none

    def renewed(old: str | None) -> str:
        card = with_section(old or "", name, f"{text}\n\nweights sha256 {digest}")
        return with_head(card, head, tuple(head)) if head else card

    return _update(folder, renewed)


def remove_card(folder: Path) -> None:
    """Remove the card of a flow that is to be removed, too; one of somebody else's stays."""
    with suppress(CheckpointError):
        if section_in(_read(folder / CARD) or "", TRAINING) is not None:
            remove_files([folder / CARD])


def digest_of(folder: Path) -> str | None:
    """sha256 of the weights of a saved flow; None for a checkpoint, and for formats that do not say it."""
    try:
        description = read_description(folder)
    except CheckpointError:
        return None
    files = description.get(FILES, {})
    return weights_digest(description) or None if set(files) == {"weights"} else None


def _update(folder: Path, change: Any) -> None:
    """Rewrite the card in one move; one of somebody else's stays as it is."""
    path = folder / CARD
    try:
        old = _read(path)
        if old is not None and section_in(old, TRAINING) is None:
            return _warn(folder, f"{path} is none of flowprior's and is left alone")
        new = change(old)
        if new != old:
            write_text(path, new)
    except CheckpointError as error:
        return _warn(folder, str(error))
    return None


def _read(path: Path) -> str | None:
    return read_text(path, LIMIT).replace("\r\n", "\n") if path.exists() else None


def _warn(folder: Path, reason: str) -> None:
    warnings.warn(f"the model card of {folder} is not written: {reason}", RuntimeWarning, stacklevel=4)
