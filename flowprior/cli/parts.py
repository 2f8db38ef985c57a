"""Labels of the parts of a condition: ``--style noto``, or ``--part NAME=VALUE`` for a part of any name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING

from flowprior.errors import OptionError
from flowprior.registry import did_you_mean

if TYPE_CHECKING:
    from flowprior.flow import Flow

STYLE = "style"
CAPTION = ""
"""What stands for the caption where the words of a row are listed by part."""
ALL = "all"


def read_parts(parts: Sequence[str] | None, style: str | None) -> dict[str, str]:
    """Part -> its labels, as they were written.

    Args:
        parts: of ``--part``, each ``NAME=VALUE``.
        style: of ``--style``, which is ``--part style=VALUE``.

    Raises:
        OptionError: one that is no ``NAME=VALUE``, or a part that is given twice.
    """
    found = {} if style is None else {STYLE: style}
    for text in parts or ():
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise OptionError(f"--part {text!r} is not possible; write NAME=VALUE, such as style=noto")
        if name in found:
            raise OptionError(f"the part '{name}' is given twice; write --part {name}=A,B for several labels")
        found[name] = value
    return found


def rows_of_parts(
    flow: Flow, captions: Sequence[str] | None, labels: Mapping[str, str]
) -> dict[str, list[str]]:
    """The words of each row: every caption with every label of each part.

    Returns:
        Part -> one word a row; the captions, where there are some, under :data:`CAPTION`.

    Raises:
        OptionError: a part that the flow does not have, or one that nothing is asked of.
    """
    _check_parts(flow, captions, labels)
    asked = {} if captions is None else {CAPTION: list(captions)}
    for name, text in labels.items():
        asked[name] = _all_of(flow, name) if text == ALL else [word.strip() for word in text.split(",")]
    rows = list(product(*asked.values()))
    return {name: [row[place] for row in rows] for place, name in enumerate(asked)}


def _all_of(flow: Flow, name: str) -> list[str]:
    """The names of all labels of a part, or their numbers."""
    size = flow.condition[name].size
    return flow.captions.label_names(name) or [str(label) for label in range(size)]


def _check_parts(flow: Flow, captions: Sequence[str] | None, labels: Mapping[str, str]) -> None:
    kinds = {name: part.kind for name, part in flow.condition.parts}
    known = [name for name, kind in kinds.items() if kind == "labels"]
    for name in labels:
        if not known:
            raise OptionError(
                f"--part {name} is not possible: this flow's condition is {flow.condition.describe()}; leave "
                "it out"
            )
        if name not in known:
            raise OptionError(
                f"--part {name}: no part of labels of this name{did_you_mean(name, known)} there are "
                f"{', '.join(known)}" + ("; write captions as --text" if name in kinds else "")
            )
    missing = [name for name in known if name not in labels]
    if missing:
        name, words = missing[0], flow.captions.label_names(missing[0])
        some = ", ".join(words) if words else f"0..{flow.condition[name].size - 1}"
        option = "--style NAME" if name == STYLE else f"--part {name}=NAME"
        raise OptionError(
            f"this flow's condition has a part '{name}', too; add {option}, one of {some}, or all"
        )
    if captions is None and len(known) < len(kinds):
        texts = next(name for name in kinds if name not in known)
        if kinds[texts] == "tensor":
            raise OptionError(f"this flow's condition has a part '{texts}', too; add --picture FILE")
        raise OptionError(f"this flow's condition has a part '{texts}' of texts, too; add --text")
