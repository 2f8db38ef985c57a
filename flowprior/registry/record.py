"""What a registry knows of one component, read off its class or function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

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
