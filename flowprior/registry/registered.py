"""The registry calls of a family's base class: ``Prior.register``, ``Prior.create``, …"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from flowprior.registry.registry import Registry
from flowprior.registry.spec import Record

C = TypeVar("C", bound=Callable[..., Any])


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
