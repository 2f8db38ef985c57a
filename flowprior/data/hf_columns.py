"""Which columns of a Hugging Face data set are events, labels and captions, by options or features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from flowprior.data.hf_folder import column_values
from flowprior.data.records import UNKNOWN, Classes, RecordConditions
from flowprior.errors import InputError, OptionError
from flowprior.registry import did_you_mean, is_whole

AUTO, NONE = "auto", "none"
EVENTS = ("image", "img", "picture", "latents", "latent", "x")
LABELS = ("label", "labels", "class", "cls", "y")
TEXTS = ("text", "caption", "prompt")
"""Names that columns of each kind have, in the order in which they are looked for."""


@dataclass(frozen=True)
class Columns:
    """Columns that are read.

    Attributes:
        event: of events.
        label: of labels, or None.
        text: of captions, or None.
        is_image: whether events are pictures; else arrays of floating-point numbers.
    """

    event: str
    label: str | None
    text: str | None
    is_image: bool


def choose_columns(dataset: Any, event: str, label: str, text: str, owner: str) -> Columns:
    """The columns that options name, ``"auto"`` replaced by what the data set's features show.

    Raises:
        OptionError: no such column, or both labels and captions.
        InputError: nothing that looks like an event.
    """
    if not {label, text} & {AUTO, NONE}:
        raise OptionError(
            f"huggingface: label={label} and text={text} exclude each other; set one of them to {NONE}"
        )
    features = dataset.features
    for option, column in (("event", event), ("label", label), ("text", text)):
        if column not in features and not (column == AUTO or (column == NONE and option != "event")):
            raise OptionError(
                f"{owner}: no column {option}={column}{did_you_mean(column, list(features))} "
                f"known: {', '.join(features)}"
            )
    pictures = [name for name, feature in features.items() if _kind(feature) == "Image"]
    if event == AUTO:
        event = _found(EVENTS, pictures or list(features)) or (pictures[0] if len(pictures) == 1 else "")
    if not event:
        raise InputError(
            f"{owner}: expected a column of events, got {', '.join(features)}; name it as event="
        )
    if label == AUTO:
        label = (_label(features) if text in (AUTO, NONE) else None) or NONE
    if text == AUTO:
        text = (_found(TEXTS, list(features)) if label == NONE else None) or NONE
    named = (None if column == NONE else column for column in (label, text))
    return Columns(event, *named, is_image=event in pictures)


def _kind(feature: Any) -> str:
    return type(feature).__name__


def _found(names: tuple[str, ...], columns: list[str]) -> str | None:
    return next((name for name in names if name in columns), None)


def _label(features: Any) -> str | None:
    classes = [name for name, feature in features.items() if _kind(feature) == "ClassLabel"]
    return _found(LABELS, list(features)) or (classes[0] if len(classes) == 1 else None)


def read_conditions(dataset: Any, training: Any | None, columns: Columns, owner: str) -> RecordConditions:
    """Labels or captions of all rows.

    Args:
        dataset: the data set.
        training: whose labels say which classes there are; None takes ``dataset``.
        columns: which of its columns.
        owner: for messages.

    Raises:
        InputError: a column of other values than whole numbers and texts.
    """
    if columns.text is not None:
        return RecordConditions(texts=_texts(dataset, columns.text, owner))
    if columns.label is None:
        return RecordConditions()
    feature = dataset.features[columns.label]
    if _kind(feature) == "ClassLabel":
        classes = Classes(feature.num_classes, list(feature.names))
        values = column_values(dataset, columns.label)
        known = [value if value is not None and 0 <= value < classes.count else UNKNOWN for value in values]
        return RecordConditions(torch.tensor(known, dtype=torch.long), classes)
    texts = _texts(dataset, columns.label, owner)
    known = texts if training is None else _texts(training, columns.label, owner)
    classes = Classes.of(known, owner)
    return RecordConditions(classes.labels(texts), classes)


def _texts(dataset: Any, column: str, owner: str) -> list[str]:
    """Texts and whole numbers as texts; an empty one for none."""
    values = column_values(dataset, column)
    wrong = next(
        (value for value in values if not (value is None or isinstance(value, str) or is_whole(value))), None
    )
    if wrong is not None:
        raise InputError(
            f"{owner}: expected whole numbers or texts in column {column}, got {type(wrong).__name__}; name "
            "another column as label= or text="
        )
    return ["" if value is None else str(value).strip() for value in values]
