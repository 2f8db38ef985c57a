"""Checks of the options that users give: types, whole numbers, choices; and the nearest known word."""

from __future__ import annotations

import difflib
import math
import types
import typing
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

from flowprior.errors import OptionError

LIKENESS = 0.65
"""Share of common letters from which on one word is taken for another, misspelt."""
SHORTEST_START = 3
"""Letters from which on the beginning of a word is taken for it."""
_NAMES = {int: "a whole number", float: "a finite number", bool: "true or false", types.NoneType: "None"}


def check_option_types(owner: str, factory: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Check ``options`` against the annotations of ``factory``: numbers, truth values and None.

    Texts and everything else are left to the component, which knows what they may be.

    Raises:
        OptionError: a value of another type, or a number that is not finite.
    """
    hints = _hints(factory) if options else {}
    for name, value in options.items():
        kinds = _kinds(hints.get(name, Any))
        if kinds and not any(_is(value, kind) for kind in kinds):
            expected = " or ".join(_NAMES[kind] for kind in kinds)
            raise OptionError(f"{owner}: {name}={value!r} is not possible; expected {expected}")


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    """Types of the parameters; empty where they cannot be told, as with names known to type checkers only."""
    try:
        return typing.get_type_hints(factory.__init__ if isinstance(factory, type) else factory)
    except (NameError, TypeError, AttributeError):
        return {}


def _kinds(hint: Any) -> list[type]:
    """The types that ``hint`` allows; empty where one of them is none of those that are checked."""
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    kinds = list(typing.get_args(hint)) if is_union else [hint]
    return kinds if all(isinstance(kind, type) and kind in _NAMES for kind in kinds) else []


def _is(value: Any, kind: type) -> bool:
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind is int:
        return is_whole(value)
    if kind is float:
        return is_number(value)
    return isinstance(value, kind)


def is_number(value: object) -> bool:
    """Check whether ``value`` is a finite number within the range of floats, and no truth value."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def is_whole(value: object) -> bool:
    """Whether ``value`` is a whole number, and no truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_count(owner: str, option: str, value: Any, least: int = 1, most: int | None = None) -> None:
    """Check that ``value`` is a whole number from ``least`` to ``most``, or without an upper end.

    Raises:
        OptionError: it is not; ``owner`` and ``option`` are named in the message.
    """
    if is_whole(value) and least <= value and (most is None or value <= most):
        return
    limit = f"{least} or more" if most is None else f"from {least} to {most:,}"
    raise OptionError(f"{owner}: {option}={value!r} is not possible; expected a whole number, {limit}")


def check_counts(owner: str, least: int = 1, **counts: Any) -> None:
    """Check each of several counts, by the name of its option; see :func:`check_count`.

    Raises:
        OptionError: which one is no whole number, or less than ``least``.
    """
    for option, value in counts.items():
        check_count(owner, option, value, least)


def check_numbers(owner: str, **values: tuple[Any, float, float]) -> None:
    """Check options that each come with a least and a most: ``lr=(lr, 1e-12, 1e6)``.

    Raises:
        OptionError: which one is no finite number within them.
    """
    for option, (value, least, most) in values.items():
        if not _is(value, float) or not least <= value <= most:
            raise OptionError(
                f"{owner}: expected {option} to be a number from {least:g} to {most:g}, got {value!r}"
            )


def choose(owner: str, option: str, value: str, choices: tuple[str, ...] | list[str]) -> str:
    """Check that ``value`` is one of ``choices``.

    Raises:
        OptionError: it is not; the message names the choices and the nearest.
    """
    if value not in choices:
        raise OptionError(
            f"{owner}: {option}={value!r} is not possible{did_you_mean(str(value), list(choices))} "
            f"choose one of {', '.join(choices)}"
        )
    return value


def did_you_mean(word: str, known: list[str], prefix: str = "") -> str:
    """``; did you mean '…'?`` for a word that one of ``known`` begins with or resembles, else ``;``."""
    begun = [name for name in known if len(word) >= SHORTEST_START and name.startswith(word)]
    near = begun[:1] or difflib.get_close_matches(word, known, n=1, cutoff=LIKENESS)
    return f"; did you mean '{prefix}{near[0]}'?" if near else ";"
