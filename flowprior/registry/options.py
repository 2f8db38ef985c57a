"""Records and specs: the facts of a component, and the text by which users and files name it.

Its record holds its options, whose meanings are read from the ``Args:`` of its docstring and of its bases'.
Its spec is its name with options, as on the command line.

Options that users give are checked: types, whole numbers, choices; the nearest known word is suggested.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import math
import re
import types
import typing
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Generic, TypeVar

from flowprior.display.shown import short
from flowprior.errors import OptionError

T = TypeVar("T")
_HEADING = re.compile(r"^\w[\w ]*:$", re.MULTILINE)
_ENTRY = re.compile(r"^    (\w[\w, ]*): ?(.*)$")
_ROLE = re.compile(r":\w+(?::\w+)?:`(?:~[\w.]*?(\w+)|([^`<]*?)(?: <[^`]*>)?)`")
EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a finite number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "tuple_type": "a list",
    "dict_type": "a section of keys",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "{le} or less",
}
"""The words for what was expected, by the type of pydantic's error; other types keep its message."""
LIKENESS = 0.65
"""Share of common letters from which on one word is taken for another, misspelt."""
SHORTEST_START = 3
"""Letters from which on the beginning of a word is taken for it."""
_NAMES = {int: "a whole number", float: "a finite number", bool: "true or false", types.NoneType: "None"}


@dataclass(frozen=True)
class Record(Generic[T]):
    """The facts of one component in a registry."""

    name: str
    factory: Callable[..., T]
    description: str
    options: Mapping[str, Any]
    aliases: tuple[str, ...] = ()
    option_aliases: Mapping[str, str] = field(default_factory=dict)


def record_of(
    name: str,
    factory: Callable[..., T],
    aliases: tuple[str, ...] = (),
    option_aliases: Mapping[str, str] | None = None,
) -> Record[T]:
    """Return the record of ``factory``: its docstring's first line, its parameters with their defaults."""
    lines = (inspect.getdoc(factory) or "").split("\n", 1)
    return Record(name, factory, lines[0].strip(), _options_of(factory), aliases, dict(option_aliases or {}))


def option_meanings(factory: Callable[..., Any]) -> dict[str, str]:
    """Option -> its meaning, as plain text in one line; what a class does not say itself its bases may."""
    found: dict[str, str] = {}
    bases = inspect.getmro(factory) if isinstance(factory, type) else (factory,)
    for base in bases:
        own = vars(base).get("__doc__") if isinstance(base, type) else base.__doc__
        found = {**_arguments_of(own or ""), **found}
    return found


def plain(text: str) -> str:
    """``text`` in one line, without the marks of reStructuredText."""
    return " ".join(_ROLE.sub(r"\1\2", text).replace("``", "").split())


@dataclass(frozen=True)
class Spec:
    """A component's name and options, as in ``gmm:components=8,covariance=lowrank``."""

    name: str
    options: Mapping[str, Any]

    def __str__(self) -> str:
        options = ",".join(f"{key}={_format_value(value)}" for key, value in self.options.items())
        return f"{self.name}:{options}" if options else self.name


def parse_spec(text: str, family: str) -> Spec:
    """Read ``name`` or ``name:key=value,key=value``; values are Python literals, else strings.

    Raises:
        OptionError: a part that is not ``key=value``; ``family`` is named in the message.
    """
    name, _, rest = text.strip().partition(":")
    options: dict[str, Any] = {}
    for part in filter(None, (piece.strip() for piece in rest.split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            raise OptionError(
                f"{family} '{text}': expected key=value, got '{part}'; write {name}:key=value,key=value"
            )
        options[key.strip().replace("-", "_")] = parse_value(value.strip())
    return Spec(name.strip(), options)


def parse_value(text: str) -> Any:
    """A Python literal (``8``, ``0.5``, ``None``), ``true`` or ``false``, else the text itself."""
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as "invalid decimal literal": then it is a text
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def listed_names(text: str, known: Collection[str], separator: str = ",") -> list[str]:
    """The pieces of ``text`` between separators; those that make a known name together are one.

    ``"CD4-positive, alpha-beta T cell,B cell"`` is two names where the first is known as it stands. From the
    left, the longest known name is taken. Blanks around a piece do not count, unless a known name has them.
    """
    pieces, found = text.split(separator), []
    while pieces:
        ends = range(len(pieces), 0, -1)
        joined = {end: separator.join(pieces[:end]) for end in ends}
        joined = {end: text if text in known else text.strip() for end, text in joined.items()}
        end = next((end for end in ends if joined[end] in known), 1)
        found.append(joined[end])
        pieces = pieces[end:]
    return found


def _arguments_of(docstring: str) -> Mapping[str, str]:
    """Argument -> what is said of it under ``Args:``."""
    _, _, rest = f"\n{inspect.cleandoc(docstring)}".partition("\nArgs:\n")
    end = _HEADING.search(rest)
    found: dict[str, list[str]] = {}
    names: list[str] = []
    for line in rest[: end.start() if end else None].splitlines():
        if entry := _ENTRY.match(line):
            names = [name.strip() for name in entry[1].split(",")]
            found |= {name: [entry[2]] for name in names}
        elif line.strip() and not line.startswith(" "):
            break
        else:
            for name in names:
                found[name].append(line.strip())
    return {name: plain(" ".join(lines)) for name, lines in found.items()}


def _options_of(factory: Callable[..., Any]) -> dict[str, Any]:
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(factory).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.kind in named}


def _format_value(value: Any) -> str:
    """Text that :func:`parse_value` reads back; quoted where it would be read as a number."""
    return value if isinstance(value, str) and parse_value(value) == value else repr(value)


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
    """Return whether ``value`` is a whole number, and no truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_counts(owner: str, least: int = 1, most: int | None = None, /, **counts: Any) -> None:
    """Check that counts, by the names of their options, are whole numbers from ``least`` to ``most``.

    Raises:
        OptionError: which one is none, or beyond a limit; there is no upper one if ``most`` is None.
    """
    limit = f"{least} or more" if most is None else f"from {least} to {most:,}"
    for option, value in counts.items():
        if not is_whole(value) or value < least or (most is not None and value > most):
            raise OptionError(
                f"{owner}: {option}={value!r} is not possible; expected a whole number, {limit}"
            )


def check_numbers(owner: str, **values: tuple[Any, float, float]) -> None:
    """Check options that each come with a least and a most: ``lr=(lr, 1e-12, 1e6)``.

    Raises:
        OptionError: which one is no finite number within them.
    """
    for option, (value, least, most) in values.items():
        if not is_number(value) or not least <= value <= most:
            raise OptionError(
                f"{owner}: expected {option} to be a number from {least:g} to {most:g}, got {value!r}"
            )


def check_not_negative(owner: str, option: str, value: Any) -> float:
    """Check a number and return it as a plain one.

    Raises:
        OptionError: no finite number of 0 or more.
    """
    if not is_number(value) or value < 0:
        raise OptionError(f"{owner}: {option}={short(value)} is not possible; choose a number, 0 or more")
    return float(value)


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


def expected_by(refusal: Mapping[str, Any]) -> str:
    """Return what was expected where pydantic has refused a value.

    Args:
        refusal: one of ``ValidationError.errors()``.
    """
    plain = str(refusal["msg"]).removeprefix("Input should be ").split(", ")[0]
    return EXPECTED.get(str(refusal["type"]), plain).format(**refusal.get("ctx", {}))


def did_you_mean(word: str, known: list[str], prefix: str = "") -> str:
    """``; did you mean '…'?`` for a word that one of ``known`` begins with or resembles, else ``;``."""
    begun = [name for name in known if len(word) >= SHORTEST_START and name.startswith(word)]
    near = begun or difflib.get_close_matches(word, known, cutoff=LIKENESS)
    return f"; did you mean '{prefix}{near[0]}'?" if near else ";"
