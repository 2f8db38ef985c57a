"""The catalogue of all components: their names for shell completion, and their descriptions for ``list``.

Descriptions come from the registries, for which everything is imported, torch too. They are therefore kept in
the cache until a file of the package changes. With plug-ins of other packages, which may change without that,
nothing is kept. Names are found by a pattern in the source instead: a shell asks for them at every press of
Tab, where the seconds of that import would be felt after each installation, and always with a plug-in. A test
holds the names of both ways equal.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import sys
from collections.abc import Callable
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
Catalogue = dict[str, list[dict[str, Any]]]
"""The components of each family: name, aliases, description, the defaults and the meanings of options."""
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
    points = points_of(f"flowprior.{GROUPS.get(family, family)}")
    return sorted(found | {point.name for point in points})


def catalogue() -> Catalogue:
    """Return the components of every family, from the cache if that is possible."""
    if asks_the_registries():
        return describe_all()
    from flowprior.storage.reading import read_json
    from flowprior.storage.user_paths import cache_folder
    from flowprior.storage.writing import write_json

    folder, file = Path(flowprior.__file__).parent, cache_folder() / FILE
    stats = [(str(at), at.stat().st_size, at.stat().st_mtime_ns) for at in sorted(folder.rglob("*.py"))]
    key = hashlib.sha256(json.dumps(stats).encode()).hexdigest()
    with suppress(CheckpointError):
        kept = read_json(file, LIMIT)
        if kept.get("key") == key and list(kept["families"]) == list(FAMILIES):
            return kept["families"]
    found = describe_all()
    with suppress(CheckpointError):  # without a cache it is only slower
        write_json(file, {"key": key, "families": found}, indent=None)
    return found


def asks_the_registries() -> bool:
    """Return whether the registries have to be asked: torch is imported already, or there are plug-ins."""
    found = entry_points()
    ours = (found.select(group=group) for group in found.groups if group.startswith("flowprior."))
    return "torch" in sys.modules or any(is_foreign(point) for points in ours for point in points)


def describe_all() -> Catalogue:
    """Return the components of every family from the registries, plug-ins included."""
    found = {
        family: [_describe(registry.record(name), family) for name in registry.available()]
        for family, registry in registries().items()
    }
    return json.loads(json.dumps(found, default=str))


def registries() -> dict[str, Registry[Any]]:
    """Return the registry of every family."""
    found = {
        family: getattr(import_module(f"flowprior.{subpackage}"), name)
        for family, (subpackage, name) in FAMILIES.items()
    }
    return {family: getattr(home, "registry", home) for family, home in found.items()}


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
