"""One generic registry; Prior, Coupling, Path, Sampler (and models and data sets) are instances of it.

Third-party packages join through entry points. One is imported when its name is looked up; all are when a
name is not known, or when everything is listed. A family's base class gets the registry's calls from
:class:`Registered`.
"""

from __future__ import annotations

import fnmatch
import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint
from typing import Any, ClassVar, Generic, TypeVar, cast

from flowprior.display.shown import short
from flowprior.errors import CheckpointError, FlowpriorError, OptionError, UnknownComponentError
from flowprior.registry.options import (
    Record,
    Spec,
    check_not_negative,
    check_option_types,
    did_you_mean,
    parse_spec,
    record_of,
)
from flowprior.registry.plugins import points_of

T = TypeVar("T")
C = TypeVar("C", bound=Callable[..., Any])


class Registry(Generic[T]):
    """Named, documented, creatable components of one family.

    Args:
        family: singular noun used in messages, such as ``"prior"``.
        group: entry-point group through which other packages add components.
        kind: what every component is an instance of; None checks nothing. :class:`Registered` sets it.
        shared: options that all components have beside their own, with their defaults, which are texts, or
            numbers that must not be negative. A component is given them as attributes after it is built.
    """

    def __init__(
        self,
        family: str,
        group: str | None = None,
        kind: type | None = None,
        shared: Mapping[str, str | float] | None = None,
    ) -> None:
        self.family = family
        self.group = group
        self.kind = kind
        self.shared = dict(shared or {})
        self._records: dict[str, Record[T]] = {}
        self._aliases: dict[str, str] = {}
        self._plugins_loaded = group is None
        self._loaded: set[EntryPoint] = set()

    def register(
        self, name: str, *, aliases: Iterable[str] = (), option_aliases: Mapping[str, str] | None = None
    ) -> Callable[[C], C]:
        """Decorator that adds a class or factory under ``name``.

        Args:
            name: of the component.
            aliases: other names of it.
            option_aliases: other name of an option -> its name, so that files and specs from before an option
                was renamed stay readable.

        Raises:
            OptionError: the name or an alias is taken by another component, or what is registered is no class
                of this family and no function.
        """

        def add(factory: C) -> C:
            self._check_factory(name, factory)
            for taken in (name, *aliases):
                if taken in self._records or taken in self._aliases:
                    raise OptionError(f"{self.family} '{taken}' is registered already; choose another name")
            record = record_of(name, cast("Callable[..., T]", factory), tuple(aliases), option_aliases)
            self._records[name] = replace(record, options={**record.options, **self._beside(record)})
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
            self._load_plugins(name)
        if not self._knows(name):
            self._load_plugins()  # for it may be an alias
        if not self._knows(name):
            # mnist is no misspelt fmnist, but another data set than fashion-mnist.
            aliases = [alias for alias, proper in self._aliases.items() if name not in proper.split("-")]
            near = did_you_mean(name, [*self._records, *aliases])
            raise UnknownComponentError(
                f"unknown {self.family} '{name}'{near} known: {', '.join(sorted(self._records)) or 'none'}"
            )
        return self._records[self._aliases.get(name, name)]

    def knows(self, name: str) -> bool:
        """Return whether a component has this name or alias, or a plug-in this name; none is imported."""
        return self._knows(name) or name in (point.name for point in points_of(self.group or ""))

    def records(self) -> list[Record[T]]:
        """Every record, plug-ins included only if they were loaded already."""
        return list(self._records.values())

    def create(self, name: str, **options: Any) -> T:
        """Build the component ``name`` with ``options``.

        Args:
            name: of the component, or a spec as on the command line, ``name:key=value,…``.
            options: of the component, besides those of a spec.

        Raises:
            UnknownComponentError: no such component.
            OptionError: an option that the component does not have, lacks, or cannot take, or that the spec
                gives, too; or what was built is none of this family.
        """
        spec = self.parse(name) if isinstance(name, str) and ":" in name else Spec(name, {})
        record = self.record(spec.name)
        owner = f"{self.family} '{record.name}'"
        options = _named_now(record, [*spec.options.items(), *options.items()], owner)
        empty = inspect.Parameter.empty
        missing = [name for name, value in record.options.items() if value is empty and name not in options]
        if missing:
            example = ",".join(f"{name}=…" for name in missing)
            raise OptionError(f"{owner} needs {' and '.join(missing)}; write {record.name}:{example}")
        shared = {option: options.pop(option) for option in self._beside(record) if option in options}
        check_option_types(owner, record.factory, options)
        for option, value in shared.items():
            if not isinstance(self.shared[option], str):
                shared[option] = check_not_negative(owner, option, value)
            elif not isinstance(value, str):
                raise OptionError(f"{owner}: {option}={value!r} is not possible; expected text")
        try:
            built = self._checked(record.factory(**options), owner)
            for option, value in shared.items():
                object.__setattr__(built, option, value)  # also where a plug-in's class is frozen
            return built
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

    def record_of(self, component: object) -> Record[T] | None:
        """Return the record of a component's class; None if it is not registered."""
        return next((record for record in self._records.values() if record.factory is type(component)), None)

    def parse(self, text: str) -> Spec:
        """Read ``name`` or ``name:key=value,key=value``; values are Python literals, else strings.

        Raises:
            OptionError: a part that is not ``key=value``.
        """
        return parse_spec(text, self.family)

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

    def _beside(self, record: Record[T]) -> dict[str, str | float]:
        """The family's options that the component's own signature does not have."""
        own = inspect.signature(record.factory).parameters
        return {option: default for option, default in self.shared.items() if option not in own}

    def _knows(self, name: str) -> bool:
        return name in self._records or name in self._aliases

    def _load_plugins(self, name: str | None = None) -> None:
        """Import every entry point once, or the one of this name; a broken one warns and is skipped."""
        if self._plugins_loaded:
            return
        self._plugins_loaded = name is None
        for point in points_of(self.group or ""):
            if point in self._loaded or name not in (None, point.name):
                continue
            self._loaded.add(point)
            try:
                loaded = point.load()
                known = self._records.get(self._aliases.get(point.name, point.name))
                # Its import may have registered it: by a decorator, or as a whole module.
                if not inspect.ismodule(loaded) and (known is None or known.factory is not loaded):
                    self.register(point.name)(loaded)
            except (Exception, SystemExit) as error:
                warnings.warn(
                    f"{self.family} plug-in '{point.name}' ({point.value}) is skipped: "
                    f"{type(error).__name__}: {error}",
                    RuntimeWarning,
                    stacklevel=3,
                )


def _named_now(record: Record[Any], options: Iterable[tuple[str, Any]], owner: str) -> dict[str, Any]:
    """Return pairs of an option and its value as a mapping, whose keys are the names of today.

    Raises:
        OptionError: an option that the component does not have, or one that is given twice.
    """
    named: dict[str, Any] = {}
    for option, value in options:
        name = record.option_aliases.get(option, option)
        if name not in record.options:
            near = did_you_mean(option, [*record.options, *record.option_aliases])
            known = ", ".join(record.options) or "none"
            raise OptionError(f"{owner} has no option '{option}'{near} options: {known}")
        if name in named:
            raise OptionError(f"{owner}: option '{name}' is given twice; give it once")
        named[name] = value
    return named


def spec_of(registry: Registry[Any], component: object) -> str:
    """Name and options of a registered component, read off the attributes its constructor stored.

    Raises:
        CheckpointError: its class is not registered, or it does not store its options under their names.
    """
    record = registry.record_of(component)
    kind = type(component).__name__
    if record is None:
        raise CheckpointError(
            f"{registry.family} {kind} is not registered, so it could not be rebuilt; "
            f"register it with {registry.family.capitalize()}.register"
        )
    unwritten = getattr(component, "unwritten", ())
    options = {name: value for name, value in record.options.items() if name not in unwritten}
    missing = [option for option in options if not hasattr(component, option)]
    if missing:
        raise CheckpointError(
            f"{registry.family} {kind} does not store its option '{missing[0]}'; "
            f"pass {registry.family}_spec= to Flow"
        )
    changed = changed_options(component, options)
    spec = Spec(record.name, changed)
    if dict(registry.parse(str(spec)).options) != changed:
        raise CheckpointError(f"{registry.family} '{spec}' cannot be written as a spec string")
    return str(spec)


def changed_options(component: object, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the ``options`` that a component stores with another value than their default."""
    unwritten = getattr(component, "unwritten", ())
    written = [name for name in options if hasattr(component, name) and name not in unwritten]
    stored = {name: getattr(component, name) for name in written}
    return {name: value for name, value in stored.items() if not _is_same(value, options[name])}


def _is_same(value: object, default: object) -> bool:
    try:
        return value is default or bool(value == default)
    except (RuntimeError, ValueError):  # arrays, which say so of each of their numbers
        return False


class Registered:
    """Gives a family's base class the registry calls: ``Prior.register``, ``Prior.create``, …"""

    registry: ClassVar[Registry[Any]]
    unwritten: ClassVar[tuple[str, ...]] = ()
    """The options that are objects of the user's own, such as a network, and that no spec can write."""

    def __init_subclass__(cls, **options: Any) -> None:
        """The class that brings a registry is what all of its components are."""
        super().__init_subclass__(**options)
        if "registry" in cls.__dict__:
            cls.registry.kind = cls

    @classmethod
    def register(
        cls, name: str, *, aliases: Iterable[str] = (), option_aliases: Mapping[str, str] | None = None
    ) -> Callable[[C], C]:
        """Class decorator that adds a component; see :meth:`Registry.register`."""
        return cls.registry.register(name, aliases=aliases, option_aliases=option_aliases)

    @classmethod
    def create(cls, name: str, **options: Any) -> Any:
        """Build a component by name or spec; see :meth:`Registry.create`."""
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
        record = self.registry.record_of(self)
        return type(self).__name__ if record is None else record.name

    def __repr__(self) -> str:
        """``GmmPrior(components=8): prior 'gmm', …``: class, options that are no defaults, what is known."""
        record = self.registry.record_of(self)
        options = record_of("", type(self)).options if record is None else record.options
        given = ", ".join(f"{name}={short(value)}" for name, value in changed_options(self, options).items())
        known = (
            f"{self.registry.family} '{record.name}'" if record else f"{self.registry.family}, not registered"
        )
        return f"{type(self).__name__}({given}): {', '.join(filter(None, (known, self._status())))}"

    def _status(self) -> str:
        """Describe the state for ``repr``, such as the data it was fitted to; empty by default."""
        return ""
