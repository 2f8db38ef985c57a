"""The catalogue of all components: their descriptions for ``list``, and their names for shell completion.

Descriptions come from the registries, for which everything is imported, torch too, and are kept in a file of
the cache. Names are found by a pattern in the source instead, because a shell asks for them at every press of
Tab. A test holds the names of both ways equal.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import flowprior
from flowprior.errors import CheckpointError
from flowprior.registry import Registry
from flowprior.registry.options import Record, option_meanings
from flowprior.registry.plugins import is_foreign, points_of
from flowprior.storage.reading import read_json
from flowprior.storage.user_paths import cache_folder
from flowprior.storage.writing import write_json

FAMILIES = {
    "priors": ("priors", "Prior"),
    "couplings": ("couplings", "Coupling"),
    "paths": ("paths", "Path"),
    "samplers": ("samplers", "Sampler"),
    "grids": ("samplers", "TimeGrid"),
    "models": ("models", "MODELS"),
    "encoders": ("models", "Encoder"),
    "data": ("data", "DATA"),
    "times": ("training", "TimeDistribution"),
    "weights": ("training", "LossWeight"),
    "callbacks": ("training", "Callback"),
    "metrics": ("metrics", "Metric"),
    "features": ("features", "FEATURES"),
}
"""The subpackage of each family, and the registry in it."""
GROUPS = {"weights": "loss_weights"}
"""The entry-point group of each family that has not the group of its own name."""
FILE = "components.json"
"""The name of the catalogue's file in the cache."""
LIMIT = 16 << 20
"""The largest size of that file, in bytes."""
NOT_FOR_USERS = {"models": ("event_shape", "condition", "inputs"), "data": ("split",)}
"""The parameters of each family's components that follow from the data or the call and are no options."""
_REGISTERED = re.compile(r'^@(\w+)\.register\(\s*"([^"]+)"', re.MULTILINE)
"""The pattern of a decorator that registers a component: the registry and the name."""


def completing(family: str, *others: str) -> Callable[[str], list[str]]:
    """Return a function for typer that completes the names of a family's components.

    Args:
        family: the family.
        others: further words to complete, such as ``auto``.
    """

    def complete(incomplete: str) -> list[str]:
        return [word for word in (*others, *names_of(family)) if word.startswith(incomplete)]

    return complete


def names_of(family: str) -> list[str]:
    """Return the sorted names of a family: its components, and the entry points of plug-ins."""
    subpackage, registry = FAMILIES[family]
    files = Path(flowprior.__file__).parent.joinpath(subpackage).glob("*.py")
    pairs = (pair for file in files for pair in _REGISTERED.findall(file.read_text(encoding="utf-8")))
    found = {name for at, name in pairs if at == registry}
    return sorted(found | {point.name for point in points_of(_group(family))})


def catalogue(families: Iterable[str], name: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """Return each family's components, plug-ins included.

    Args:
        families: the families.
        name: the name or alias of a single component; None for all.

    Returns:
        Family -> name, aliases, description, defaults and meanings of the options of each component.

    Raises:
        UnknownComponentError: no component of that name.
    """
    known, found = _kept_catalogue(), {}
    for family in families:
        found[family] = [of for of in known[family] if name in (None, of["name"], *of["aliases"])]
        if not found[family] and name is not None:
            registry_of(family).record(name)
    return found


def _kept_catalogue() -> dict[str, list[dict[str, Any]]]:
    """Return the components of every family, from a file of the cache while no source file has changed.

    With plug-ins, whose files may change unseen, or where torch is imported, the registries are asked.
    """
    points = (point for family in FAMILIES for point in entry_points(group=_group(family)))
    if "torch" in sys.modules or any(map(is_foreign, points)):
        return _described()
    folder, file = Path(flowprior.__file__).parent, cache_folder() / FILE
    stats = [(str(at), at.stat().st_size, at.stat().st_mtime_ns) for at in sorted(folder.rglob("*.py"))]
    key = hashlib.sha256(json.dumps(stats).encode()).hexdigest()
    with suppress(CheckpointError):
        kept = read_json(file, LIMIT)
        if kept.get("key") == key:
            return kept["families"]
    found = json.loads(json.dumps(_described(), default=str))
    with suppress(CheckpointError):  # without a cache it is only slower
        write_json(file, {"key": key, "families": found}, indent=None)
    return found


def _described() -> dict[str, list[dict[str, Any]]]:
    registries = {family: registry_of(family) for family in FAMILIES}
    return {
        family: [_describe(registry.record(name), family) for name in registry.available()]
        for family, registry in registries.items()
    }


def _group(family: str) -> str:
    """Return the entry-point group of a family."""
    return f"flowprior.{GROUPS.get(family, family)}"


def registry_of(family: str) -> Registry[Any]:
    """Return the registry of a family."""
    subpackage, name = FAMILIES[family]
    home = getattr(import_module(f"flowprior.{subpackage}"), name)
    return getattr(home, "registry", home)


def _describe(record: Record[Any], family: str) -> dict[str, Any]:
    from flowprior.models.base import READS, READS_MEANING, model_options

    known = model_options(record.name) if family == "models" else record.options
    options = {
        name: "required" if value is inspect.Parameter.empty else value
        for name, value in known.items()
        if name not in NOT_FOR_USERS.get(family, ())
    }
    meanings = {READS: READS_MEANING, **option_meanings(record.factory)}
    return {
        "name": record.name,
        "aliases": list(record.aliases),
        "description": record.description,
        "options": options,
        "meanings": {name: meanings.get(name, "") for name in options},
    }
