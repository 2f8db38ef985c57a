"""Whether the value of an option is of the type that a component's signature names."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

from flowprior.errors import OptionError

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
        return isinstance(value, Integral)
    if kind is float:
        return isinstance(value, Real) and math.isfinite(value)
    return isinstance(value, kind)
