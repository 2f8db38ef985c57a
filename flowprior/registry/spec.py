"""Records and specs: the facts of a component, and the text by which users and files name it.

Its record holds its options, whose meanings are read from the ``Args:`` of its docstring and of its bases'.
Its spec is its name with options, as on the command line.
"""

from __future__ import annotations

import ast
import inspect
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from flowprior.errors import OptionError

T = TypeVar("T")
_HEADING = re.compile(r"^\w[\w ]*:$", re.MULTILINE)
_ENTRY = re.compile(r"^    (\w[\w, ]*): ?(.*)$")
_ROLE = re.compile(r":\w+(?::\w+)?:`(?:~[\w.]*?(\w+)|([^`<]*?)(?: <[^`]*>)?)`")


@dataclass(frozen=True)
class Record(Generic[T]):
    """The facts of one component in a registry."""

    name: str
    factory: Callable[..., T]
    description: str
    options: Mapping[str, Any]
    aliases: tuple[str, ...] = ()


def record_of(name: str, factory: Callable[..., T], aliases: tuple[str, ...]) -> Record[T]:
    """The record of ``factory``: its docstring's first line, its parameters with their defaults."""
    lines = (inspect.getdoc(factory) or "").split("\n", 1)
    return Record(name, factory, lines[0].strip(), _options_of(factory), aliases)


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
