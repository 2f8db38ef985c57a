"""Specs such as ``gmm:components=8,covariance=full``, completed for the shell: names, options, values.

Names are read from the source. Options come from the catalogue, which the first time takes as long as torch
takes to be imported, and is read from the cache afterwards.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from flowprior.cli.names import names_of

ASKED, BASH = "_FLOWPRIOR_COMPLETE", "complete_bash"
"""The environment variable by which a shell asks for words, and what bash writes there."""
BEFORE = "_FLOWPRIOR_BEFORE"
"""Where :func:`rejoin_words` keeps what of a spec stands before the word that bash asks for."""
BREAKS = ":="
"""Characters at which bash parts the words of a line."""
_QUOTED = re.compile(r'"([\w-]+)"')


def completing(family: str, *others: str) -> Callable[[str], list[str]]:
    """What typer asks for the names, and options in specs, that begin with what was typed.

    Args:
        family: of the components.
        others: words that may stand in their place, such as ``auto``.
    """

    def complete(incomplete: str) -> list[str]:
        return complete_spec(incomplete, family, others)

    return complete


def complete_spec(incomplete: str, family: str, others: tuple[str, ...] = ()) -> list[str]:
    """Words that ``incomplete`` may become, as the shell that asks wants them.

    Args:
        incomplete: what was typed, ``SPEC`` or ``LABEL=SPEC``; of bash the part behind the last break.
        family: of the component.
        others: words that may stand in its place, such as ``auto``.
    """
    before = os.environ.get(BEFORE, "")
    named, colon, options = f"{before}{incomplete}".partition(":")
    label, name = named[: named.rfind("=") + 1], named[named.rfind("=") + 1 :]
    if colon:
        words = [f"{label}{name}:{rest}" for rest in _options(family, name, options)]
    else:
        words = [f"{label}{word}" for word in (*others, *names_of(family)) if word.startswith(name)]
    return [word[len(before) :] for word in words]


def _options(family: str, name: str, typed: str) -> Iterator[str]:
    """What the options of a spec may become: a name and ``=``, or one of the words that are its values."""
    from flowprior.cli.catalogue import catalogue

    components = [one for one in catalogue()[family] if name in (one["name"], *one["aliases"])]
    before, comma, last = typed.rpartition(",")
    key, equals, value = last.partition("=")
    taken = [piece.partition("=")[0] for piece in before.split(",")]
    for component in components:
        for option in component["options"]:
            if not equals and option.startswith(key) and option not in taken:
                yield f"{before}{comma}{option}="
            elif equals and option == key:
                words = values_of(component, option)
                yield from (f"{before}{comma}{key}={word}" for word in words if word.startswith(value))


def values_of(component: Mapping[str, Any], option: str) -> list[str]:
    """The words that an option takes: true and false, or those that its meaning puts in quotes."""
    default = component["options"][option]
    if isinstance(default, bool):
        return ["true", "false"]
    if not isinstance(default, str):
        return []
    quoted = _QUOTED.findall(component["meanings"][option])
    return list(dict.fromkeys([*quoted, *([default] if quoted and default else [])]))


def rejoin_words(environment: MutableMapping[str, str]) -> None:
    """Put together the words of bash's question that it has parted at ``:`` and ``=``.

    Of the word that is asked for its last part stays, which is what bash replaces; what stands before that is
    noted under :data:`BEFORE`. Where somebody has set bash to part words elsewhere, nothing changes.

    Args:
        environment: with ``COMP_WORDS`` and ``COMP_CWORD``, which are changed.
    """
    if environment.get(ASKED) != BASH:
        return
    try:
        parted, at = shlex.split(environment["COMP_WORDS"]), int(environment["COMP_CWORD"])
    except (KeyError, ValueError):  # an open quotation mark, which is no spec
        return
    words, place = _joined(parted, at)
    if at < len(parted):
        option, equals, spec = _split_option(words[place])
        cut = len(spec) - len(parted[at].lstrip(BREAKS))
        environment[BEFORE], words[place] = spec[:cut], f"{option}{equals}{spec[cut:]}"
    environment["COMP_WORDS"], environment["COMP_CWORD"] = shlex.join(words), str(place)


def _split_option(word: str) -> tuple[str, str, str]:
    """``--prior``, ``=`` and ``SPEC`` of ``--prior=SPEC``; a word of another kind is all spec."""
    return word.partition("=") if word.startswith("-") else ("", "", word)


def _joined(parted: Sequence[str], at: int) -> tuple[list[str], int]:
    """The words without breaks in between, and which of them has the number ``at`` among those given."""
    words: list[str] = []
    place, glued = len(parted), False
    for number, word in enumerate(parted):
        is_break = bool(word) and not word.strip(BREAKS)
        if words and (is_break or glued):
            words[-1] += word
        else:
            words.append(word)
        glued = is_break
        place = len(words) - 1 if number == at else place
    return words, min(place, len(words))
