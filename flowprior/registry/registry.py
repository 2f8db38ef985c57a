"""One generic registry; Prior, Coupling, Path, Sampler (and models and data sets) are instances of it.

A record holds a component's name, class, one-line description and options with their defaults, read
from the constructor's signature. Third-party packages join through entry points, which are imported
only when a name is looked up that is not known yet, or when everything is listed.
"""

from __future__ import annotations

import ast
import difflib
import fnmatch
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, ClassVar, Generic, TypeVar, cast

from flowprior.errors import FlowpriorError, OptionError, UnknownComponentError
from flowprior.registry.option_types import check_option_types

T = TypeVar("T")
C = TypeVar("C", bound=Callable[..., Any])


@dataclass(frozen=True)
class Record(Generic[T]):
    """What a registry knows of one component."""

    name: str
    factory: Callable[..., T]
    description: str
    options: Mapping[str, Any]
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spec:
    """A component's name and options, as in ``gmm:components=8,covariance=lowrank``."""

    name: str
    options: Mapping[str, Any]

    def __str__(self) -> str:
        options = ",".join(f"{key}={_format_value(value)}" for key, value in self.options.items())
        return f"{self.name}:{options}" if options else self.name


class Registry(Generic[T]):
    """Named, documented, creatable components of one family.

    Args:
        family: singular noun used in messages, such as ``"prior"``.
        group: entry-point group through which other packages add components.
        kind: what every component is an instance of; None checks nothing. :class:`Registered` sets it.
    """

    def __init__(self, family: str, group: str | None = None, kind: type | None = None) -> None:
        self.family = family
        self.group = group
        self.kind = kind
        self._records: dict[str, Record[T]] = {}
        self._aliases: dict[str, str] = {}
        self._plugins_loaded = group is None

    def register(self, name: str, *, aliases: tuple[str, ...] | list[str] = ()) -> Callable[[C], C]:
        """Decorator that adds a class or factory under ``name``.

        Raises:
            OptionError: the name or an alias is taken by another component, or what is registered is no class
                of this family and no function.
        """

        def add(factory: C) -> C:
            self._check_factory(name, factory)
            for taken in (name, *aliases):
                if taken in self._records or taken in self._aliases:
                    raise OptionError(f"{self.family} '{taken}' is registered already; choose another name")
            record = Record(
                name=name,
                factory=cast("Callable[..., T]", factory),
                description=_first_line(factory),
                options=_options_of(factory),
                aliases=tuple(aliases),
            )
            self._records[name] = record
            self._aliases.update(dict.fromkeys(aliases, name))
            return factory

        return add

    def available(self, pattern: str = "*") -> list[str]:
        """Sorted names that match a shell-style ``pattern``, plug-ins included."""
        self._load_plugins()
        return sorted(name for name in self._records if fnmatch.fnmatch(name, pattern))

    def record(self, name: str) -> Record[T]:
        """The record of ``name`` or of the component it is an alias for.

        Raises:
            UnknownComponentError: no such component; the message names the known and the nearest ones.
        """
        if not self._knows(name):
            self._load_plugins()
        if not self._knows(name):
            raise UnknownComponentError(self._unknown(name))
        return self._records[self._aliases.get(name, name)]

    def records(self) -> list[Record[T]]:
        """Every record, plug-ins included only if they were loaded already."""
        return list(self._records.values())

    def create(self, name: str, **options: Any) -> T:
        """Build the component ``name`` with ``options``.

        Raises:
            UnknownComponentError: no such component.
            OptionError: an option that the component does not have, lacks, or cannot take; or what was built
                is none of this family.
        """
        record = self.record(name)
        for option in options:
            if option not in record.options:
                known = list(record.options)
                raise OptionError(
                    f"{self.family} '{record.name}' has no option '{option}'{_did_you_mean(option, known)} "
                    f"options: {', '.join(known) or 'none'}"
                )
        check_option_types(f"{self.family} '{record.name}'", record.factory, options)
        try:
            return self._checked(record.factory(**options), f"{self.family} '{record.name}'")
        except FlowpriorError:
            raise
        except (TypeError, ValueError, OverflowError) as error:
            raise OptionError(f"{self.family} '{record.name}' cannot be built: {error}") from error

    def resolve(self, component: str | Spec | T) -> T:
        """An instance as it is; a name or spec string (``name:key=value,…``) built.

        Raises:
            UnknownComponentError: no such component.
            OptionError: options that it cannot take, or something else than a name, a spec or an instance.
        """
        if isinstance(component, str):
            component = self.parse(component)
        if isinstance(component, Spec):
            return self.create(component.name, **component.options)
        return self._checked(component, self.family)

    def parse(self, text: str) -> Spec:
        """Read ``name`` or ``name:key=value,key=value``; values are Python literals, else strings.

        Raises:
            OptionError: a part that is not ``key=value``.
        """
        name, _, rest = text.strip().partition(":")
        options: dict[str, Any] = {}
        for part in filter(None, (piece.strip() for piece in rest.split(","))):
            key, equals, value = part.partition("=")
            if not equals:
                raise OptionError(
                    f"{self.family} '{text}': expected key=value, got '{part}'; "
                    f"write {name}:key=value,key=value"
                )
            options[key.strip().replace("-", "_")] = parse_value(value.strip())
        return Spec(name.strip(), options)

    def _check_factory(self, name: str, factory: Any) -> None:
        """Refuse what could never build a component of this family."""
        if not callable(factory):
            raise OptionError(f"{self.family} '{name}': expected a class or a function, got {factory!r}")
        if self.kind is None or not isinstance(factory, type):
            return
        if not issubclass(factory, self.kind) or inspect.isabstract(factory):
            lacks = ", ".join(sorted(getattr(factory, "__abstractmethods__", ())))
            raise OptionError(
                f"{self.family} '{name}': expected a {self.kind.__name__}, got {factory.__name__}"
                + (f", which lacks {lacks}" if lacks else "")
            )

    def _checked(self, built: Any, owner: str) -> T:
        """``built``, where it is of this family."""
        if self.kind is not None and not isinstance(built, self.kind):
            raise OptionError(
                f"{owner}: expected a name, a spec or a {self.kind.__name__}, got {type(built).__name__}"
            )
        return built

    def _knows(self, name: str) -> bool:
        return name in self._records or name in self._aliases

    def _unknown(self, name: str) -> str:
        near = _did_you_mean(name, [*self._records, *self._aliases])
        return f"unknown {self.family} '{name}'{near} known: {', '.join(sorted(self._records))}"

    def _load_plugins(self) -> None:
        """Import every entry point of the group once; one that is broken or exits warns and is skipped."""
        if self._plugins_loaded:
            return
        self._plugins_loaded = True
        for point in entry_points(group=self.group or ""):
            try:
                self._add_plugin(point.name, point.load())
            except (Exception, SystemExit) as error:
                warnings.warn(
                    f"{self.family} plug-in '{point.name}' ({point.value}) is skipped: "
                    f"{type(error).__name__}: {error}",
                    RuntimeWarning,
                    stacklevel=3,
                )

    def _add_plugin(self, name: str, loaded: Any) -> None:
        """Register what an entry point gave, unless its import did: by a decorator, or as a whole module."""
        known = self._records.get(self._aliases.get(name, name))
        if not inspect.ismodule(loaded) and (known is None or known.factory is not loaded):
            self.register(name)(loaded)


class Registered:
    """Gives a family's base class the registry calls: ``Prior.register``, ``Prior.create``, …"""

    registry: ClassVar[Registry[Any]]

    def __init_subclass__(cls, **options: Any) -> None:
        """The class that brings a registry is what all of its components are."""
        super().__init_subclass__(**options)
        if "registry" in cls.__dict__:
            cls.registry.kind = cls

    @classmethod
    def register(cls, name: str, *, aliases: tuple[str, ...] | list[str] = ()) -> Callable[[C], C]:
        """Class decorator that adds a component; see :meth:`Registry.register`."""
        return cls.registry.register(name, aliases=aliases)

    @classmethod
    def create(cls, name: str, **options: Any) -> Any:
        """Build a component by name; see :meth:`Registry.create`."""
        return cls.registry.create(name, **options)

    @classmethod
    def available(cls, pattern: str = "*") -> list[str]:
        """Names of the registered components; see :meth:`Registry.available`."""
        return cls.registry.available(pattern)

    @classmethod
    def record(cls, name: str) -> Record[Any]:
        """Description and options of a component; see :meth:`Registry.record`."""
        return cls.registry.record(name)

    @property
    def name(self) -> str:
        """Registered name, for messages."""
        return next((r.name for r in self.registry.records() if r.factory is type(self)), type(self).__name__)


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


def choose(owner: str, option: str, value: str, choices: tuple[str, ...] | list[str]) -> str:
    """Check that ``value`` is one of ``choices``.

    Raises:
        OptionError: it is not; the message names the choices and the nearest.
    """
    if value not in choices:
        raise OptionError(
            f"{owner}: {option}={value!r} is not possible{_did_you_mean(str(value), list(choices))} "
            f"choose one of {', '.join(choices)}"
        )
    return value


def _did_you_mean(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ";"


def _first_line(factory: Callable[..., Any]) -> str:
    return (inspect.getdoc(factory) or "").split("\n", 1)[0].strip()


def _options_of(factory: Callable[..., Any]) -> dict[str, Any]:
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(factory).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.kind in named}


def _format_value(value: Any) -> str:
    """Text that :func:`parse_value` reads back; quoted where it would be read as a number."""
    return value if isinstance(value, str) and parse_value(value) == value else repr(value)
