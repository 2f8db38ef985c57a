"""What the page asks for: a caption or a class, for the condition or for each of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from flowprior.conditions import Condition
from flowprior.errors import InputError
from flowprior.flow import Flow
from flowprior.flow.label_names import WHOLE
from flowprior.flow.readers import TEXTUAL

OWNER = "demo"
MOST_CHARACTERS = 10_000
"""Of a caption."""


@dataclass(frozen=True)
class Field:
    """One thing that the page asks for.

    Attributes:
        name: of the part of the condition; empty where it has none.
        kind: a caption, or a class.
        choices: names of the classes, in the order of their labels.
    """

    name: str
    kind: Literal["caption", "class"]
    choices: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What stands above it."""
        return self.name.capitalize() or self.kind.capitalize()


def fields_of(flow: Flow) -> list[Field]:
    """The fields of a flow's condition; none for a flow without.

    Where there is a caption, the text encoder is loaded and asked for the empty one.

    Raises:
        InputError: no text encoder, or another one than made the embeddings of the data.
        FlowpriorError: an encoder that cannot be had on this machine.
    """
    condition = flow.condition
    parts = condition.parts if condition.kind == "parts" else ((WHOLE, condition),)
    fields = [] if condition.kind == "none" else [_field(flow, name, part) for name, part in parts]
    if any(field.kind == "caption" for field in fields):
        flow.words.read(condition_of(fields, ["" for _ in fields], 1), 1, OWNER)
    return fields


def _field(flow: Flow, name: str, part: Condition) -> Field:
    if part.kind == "tensor":
        raise InputError(
            f"{OWNER}: a condition that is {part.describe()} cannot be entered here; use flowprior sample "
            "--picture"
        )
    if part.kind in TEXTUAL:
        return Field(name, "caption")
    names = flow.words.label_names(name)
    return Field(name, "class", tuple(names or map(str, range(part.size))))


def condition_of(fields: Sequence[Field], values: Sequence[Any], n: int) -> Any:
    """What :func:`flowprior.flow.showing.stages` takes for the values of the fields, ``n`` times.

    Args:
        fields: of :func:`fields_of`.
        values: a text for each caption, a label for each class.
        n: number of samples.

    Raises:
        InputError: no class, or a caption that is too long.
    """
    asked = {field.name: _value(field, value, n) for field, value in zip(fields, values, strict=True)}
    return asked.get(WHOLE) if WHOLE in asked or not asked else asked


def _value(field: Field, value: Any, n: int) -> Any:
    if field.kind == "caption":
        text = str(value or "").strip()
        if len(text) > MOST_CHARACTERS:
            raise InputError(
                f"{OWNER}: expected a caption of at most {MOST_CHARACTERS:,} characters, got {len(text):,}; "
                "shorten it"
            )
        return text
    label = int(value or 0)
    if not 0 <= label < max(len(field.choices), 1):
        raise InputError(f"{OWNER}: no class {label}; choose one of 0..{len(field.choices) - 1}")
    return torch.full((n,), label)
