"""The text of a model card: its head in YAML, and the sections that flowprior writes into it.

Between the comments ``<!-- flowprior: NAME -->`` and ``<!-- flowprior: end of NAME -->`` stands what
flowprior writes, and writes anew; what a user adds around them, and other keys of the head, stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flowprior.flow.card import HEAD_KEYS, yaml_of

TRAINING, EVALUATION, HUB = "training", "evaluation", "hub"
METRICS = "metrics"
"""Key of the head that belongs to the section of the evaluation."""
_HEAD = re.compile(r"\A---\n(.*?\n)---\n", re.DOTALL)
_BEGIN = re.compile(r"^<!-- flowprior: (?!end of )(.+?) -->$", re.MULTILINE)


def sections_of(card: str) -> list[str]:
    """Names of the sections of a card, in their order."""
    return [name for name in _BEGIN.findall(card) if section_in(card, name) is not None]


def split_head(card: str) -> tuple[str, str]:
    """The lines of the head, empty where there is none, and what stands below it."""
    found = _HEAD.match(card)
    return ("", card) if found is None else (found[1], card[found.end() :])


def join_head(head: str, body: str) -> str:
    """A card of these lines of a head and this body."""
    return f"---\n{head}---\n\n{body.lstrip()}"


def split_body(body: str) -> tuple[str, str]:
    """What stands above the first section of a body, and the rest, sections and all."""
    names = sections_of(body)
    place = _section(names[0]).search(body) if names else None
    start = len(body) if place is None else place.start()
    return body[:start], body[start:]


def section_in(card: str, name: str) -> str | None:
    """The text of a section; None where there is none."""
    found = _section(name).search(card)
    return None if found is None else found[1].strip("\n")


def with_section(card: str, name: str, text: str | None) -> str:
    """The card with a section of this text: where it was, else at the end; None takes it away."""
    if text is None:
        return _section(name).sub("", card)
    block = f"<!-- flowprior: {name} -->\n\n{text}\n\n<!-- flowprior: end of {name} -->\n"
    if _section(name).search(card) is None:
        return f"{card.rstrip()}\n\n{block}".lstrip("\n")
    first, *others = _section(name).split(card)[::2]
    return first + block + "".join(others)


def with_head(card: str, values: Mapping[str, Any], owned: Sequence[str] = HEAD_KEYS) -> str:
    """The card with these keys in its head in YAML, in place of the ``owned`` ones; others stay.

    A license stays, too, where there is one.
    """
    head, body = split_head(card)
    others = lines_of_keys(head, lambda key: key not in owned)
    if re.search(r"^license\s*:", others, re.MULTILINE):
        values = {name: value for name, value in values.items() if name != "license"}
    lines = f"{yaml_of(values)}\n" if values else ""
    return join_head(f"{lines}{others}", body)


def lines_of_keys(head: str, wanted: Callable[[str], bool]) -> str:
    """The lines of a head that belong to wanted keys; those before the first key belong to the key ``""``."""
    kept, key = [], ""
    for line in head.splitlines(keepends=True):
        found = re.match(r"([^\s#:-][^:]*):", line)
        key = found[1].strip().strip("\"'") if found else key
        if wanted(key):
            kept.append(line)
    return "".join(kept)


def _section(name: str) -> re.Pattern[str]:
    begin, end = f"<!-- flowprior: {re.escape(name)} -->", f"<!-- flowprior: end of {re.escape(name)} -->"
    return re.compile(rf"{begin}\n(.*?){end}\n?", re.DOTALL)
