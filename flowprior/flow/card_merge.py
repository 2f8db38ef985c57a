"""Two cards of a flow made one: the flow's facts from the one, what people wrote from both.

A flow is pushed again from a folder with a card, and there is one on the Hub already; people may have written
into either. Nothing of the text that they wrote is lost: a paragraph that was changed in one of them stands
in both versions. Of a key of the head that both have, such as the licence, the one on the Hub stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flowprior.errors import CheckpointError
from flowprior.flow.card import HEAD_KEYS, yaml_of
from flowprior.flow.card_text import (
    EVALUATION,
    METRICS,
    TRAINING,
    join_head,
    lines_of_keys,
    section_in,
    sections_of,
    split_body,
    split_head,
    with_section,
)

FENCE = "```"


def merged(own: str, theirs: str, before: Mapping[str, Any]) -> str:
    """The card ``theirs`` with the facts of ``own``, and with the words around them of both.

    Args:
        own: card of the flow that is pushed.
        theirs: card that is there.
        before: head that flowprior wrote for the flow that is there, see :func:`flowprior.flow.card.head_of`;
            what differs from it in ``theirs`` is a person's, and stays.
    """
    body = split_head(theirs)[1]
    for name in dict.fromkeys((TRAINING, EVALUATION, *sections_of(own))):
        body = with_section(body, name, section_in(own, name))
    return join_head(_head(own, theirs, before), _with_words_of(split_head(own)[1], body))


def _head(own: str, theirs: str, before: Mapping[str, Any]) -> str:
    """Lines of the head: what flowprior writes of a flow, and every other key of the two."""
    ours, found = _values(own), _values(theirs)
    kept = {key: _kept(ours.get(key), found.get(key), before.get(key)) for key in HEAD_KEYS}
    written = yaml_of({key: value for key, value in kept.items() if value})
    facts = (*HEAD_KEYS, METRICS)
    own_head, their_head = split_head(own)[0], split_head(theirs)[0]
    return "".join(
        [
            f"{written}\n",
            lines_of_keys(own_head, lambda key: key == METRICS),
            lines_of_keys(their_head, lambda key: key not in facts),
            lines_of_keys(own_head, lambda key: key not in ("", *facts, *found)),
        ]
    )


def _values(card: str) -> dict[str, Any]:
    """The head as Hugging Face's own reader gives it; nothing of a card without one.

    Raises:
        CheckpointError: the head is no YAML.
    """
    import yaml
    from huggingface_hub import ModelCard

    if not split_head(card)[0]:
        return {}
    try:
        return ModelCard(card, ignore_metadata_errors=True).data.to_dict()
    except (ValueError, yaml.YAMLError) as error:
        raise CheckpointError(
            f"push_to_hub: expected a card whose head is YAML, got one that is not ({_first_line(error)}); "
            "mend it on the Hub or in the folder, then push again"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _kept(ours: Any, theirs: Any, before: Any) -> Any:
    """Our value of a key and what a person added to it, or put in its place."""
    if isinstance(ours, list) or isinstance(theirs, list):
        added = [item for item in _items(theirs) if item not in (*_items(before), *_items(ours))]
        return [*_items(ours), *added]
    return ours if theirs in (None, before) else theirs


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _with_words_of(own: str, body: str) -> str:
    """``body`` with the paragraphs around the sections of ``own`` that it lacks, above them or at its end."""
    front, rest = split_body(body)
    own_front, own_rest = split_body(own)
    known = {*_paragraphs(front), *_paragraphs(_without_sections(rest))}
    above = [words for words in _paragraphs(own_front) if words not in known]
    below = [words for words in _paragraphs(_without_sections(own_rest)) if words not in known]
    return "\n\n".join(part.strip("\n") for part in (front, *above, rest, *below) if part.strip()) + "\n"


def _without_sections(text: str) -> str:
    for name in sections_of(text):
        text = with_section(text, name, None)
    return text


def _paragraphs(text: str) -> list[str]:
    """What blank lines part; a block of code is a single paragraph, with those in it."""
    found, lines, in_code = [], [], False
    for line in [*text.splitlines(), ""]:
        in_code ^= line.lstrip().startswith(FENCE)
        if line.strip() or in_code:
            lines.append(line)
        elif lines:
            found.append("\n".join(lines))
            lines = []
    return [*found, *(["\n".join(lines)] if lines else [])]
