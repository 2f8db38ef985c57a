"""What a registry knows of a component (its record), and how users and files name one (its spec)."""

from __future__ import annotations

import ast
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from flowprior.errors import OptionError

T = TypeVar("T")


@dataclass(frozen=True)
class Record(Generic[T]):
    """What a registry knows of one component."""

    name: str
    factory: Callable[..., T]
    description: str
    options: Mapping[str, Any]
    aliases: tuple[str, ...] = ()


def record_of(name: str, factory: Callable[..., T], aliases: tuple[str, ...]) -> Record[T]:
    """The record of ``factory``: its docstring's first line, its parameters with their defaults."""
    lines = (inspect.getdoc(factory) or "").split("\n", 1)
    return Record(name, factory, lines[0].strip(), _options_of(factory), aliases)


def _options_of(factory: Callable[..., Any]) -> dict[str, Any]:
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(factory).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.kind in named}


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


def _format_value(value: Any) -> str:
    """Text that :func:`parse_value` reads back; quoted where it would be read as a number."""
    return value if isinstance(value, str) and parse_value(value) == value else repr(value)
