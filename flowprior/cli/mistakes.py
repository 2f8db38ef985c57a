"""Say what is wrong with a command line in one sentence, and name the word of the nearest spelling."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from flowprior.registry.options import expected_by

LIKENESS = 0.75
"""From which share of common letters on an option is taken for a misspelt one."""
SHORTEST_START = 3
"""Letters from which on the beginning of an option is taken for it."""


def usage(error: Any) -> str:
    """Return what is wrong with a command line that click has refused, and what to do."""
    context = getattr(error, "ctx", None)
    wrong = getattr(error, "option_name", None)
    if type(error).__name__ == "NoSuchOption" and wrong and context:
        return unknown_option(wrong, options_of(context.command), context.command_path)
    hint = f"; see {context.command_path} --help" if context else ""
    message = _refused_value(error) or error.format_message().rstrip(".")
    return f"{message[:1].lower()}{message[1:]}{hint}"


def _refused_value(error: Any) -> str | None:
    """Return the option, value and what was expected, where typer has had pydantic look at it."""
    told: Any = getattr(error.__cause__, "errors", None)
    option = getattr(error, "param", None)
    if not callable(told) or option is None:
        return None
    refusals: Any = told()
    first = refusals[0]
    return f"{option.opts[0]}={first['input']!r} is not possible; expected {expected_by(first)}"


def options_of(command: Any) -> list[str]:
    """The names of a command's options, ``--help`` among them."""
    return [*(name for option in command.params for name in option.opts if name.startswith("-")), "--help"]


def unknown_option(wrong: str, known: Sequence[str], command: str) -> str:
    """The sentence for an option that a command does not have."""
    near = nearest_option(wrong, known)
    if near is None:
        return f"no such option '{wrong}'; {command} --help lists the options"
    return f"no such option '{wrong}'; did you mean '{near}'?"


def nearest_option(wrong: str, known: Sequence[str]) -> str | None:
    """The option, or key of ``--set``, that is spelt nearly like ``wrong``; else None."""
    word = wrong.lower().replace("_", "-")
    if word in known:
        return word
    long = [name for name in known if name.startswith("--")]
    return _spelt(word, long) or (_set_key(word) if "--set" in known else None)


def _spelt(word: str, known: Sequence[str]) -> str | None:
    """The option that ``word`` begins or misspells; dashes do not count."""
    bare = {name.lstrip("-"): name for name in known}
    letters = word.lstrip("-")
    begun = [name for name in bare if len(letters) >= SHORTEST_START and name.startswith(letters)]
    near = begun[:1] or difflib.get_close_matches(letters, bare, n=1, cutoff=LIKENESS)
    return bare[near[0]] if near else None


def _set_key(word: str) -> str | None:
    from flowprior.training.config import TrainingConfig

    keys = [field.name.replace("_", "-") for field in fields(TrainingConfig)]
    near = difflib.get_close_matches(word.lstrip("-"), keys, n=1, cutoff=LIKENESS)
    return f"--set training.{near[0].replace('-', '_')}=…" if near else None


def unknown_command(wrong: str, known: Sequence[str]) -> str:
    """The sentence for a command that there is not."""
    near = difflib.get_close_matches(wrong, known, n=1)
    if not near:
        return f"no such command '{wrong}'; there are {', '.join(known)}"
    return f"no such command '{wrong}'; did you mean '{near[0]}'?"
