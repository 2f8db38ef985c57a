"""Every component that can be named, with options, defaults and what they mean, as plain values.

To know them everything has to be imported, torch too. What the package itself registers is therefore kept in
the cache, until a file of the package changes. Plug-ins may change without that: where there are any, nothing
is kept.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import flowprior
from flowprior.cli.names import FAMILIES
from flowprior.errors import CheckpointError
from flowprior.registry import Record, Registry, option_meanings

FILE = "components.json"
LIMIT = 16 << 20
NOT_FOR_USERS = {"models": ("event_shape", "condition", "inputs", "interval"), "data": ("split",)}
Catalogue = dict[str, list[dict[str, Any]]]
"""Family -> its components: name, aliases, description, options (name -> default) and their meanings."""


def catalogue() -> Catalogue:
    """The components of every family; read from the cache where nothing else has been imported."""
    if asks_the_registries():
        return describe_all()
    from flowprior.storage import read_json, write_json
    from flowprior.storage.user_paths import cache_folder

    file, key = cache_folder() / FILE, _key()
    with suppress(CheckpointError):
        kept = read_json(file, LIMIT)
        if kept.get("key") == key and list(kept["families"]) == list(FAMILIES):
            return kept["families"]
    found = describe_all()
    with suppress(CheckpointError):  # without a cache it is only slower
        write_json(file, {"key": key, "families": found}, indent=None)
    return found


def asks_the_registries() -> bool:
    """Whether components may have joined that the package's files do not tell of."""
    return "torch" in sys.modules or any(group.startswith("flowprior.") for group in entry_points().groups)


def _key() -> str:
    """A digest of the names, sizes and times of the package's files."""
    folder = Path(flowprior.__file__).parent
    stats = [
        (str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(folder.rglob("*.py"))
    ]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()


def describe_all() -> Catalogue:
    """The same from the registries themselves, plug-ins included."""
    found = {
        family: [_describe(registry.record(name), family) for name in registry.available()]
        for family, registry in registries().items()
    }
    return json.loads(json.dumps(found, default=str))


def registries() -> dict[str, Registry[Any]]:
    """The registry of every family that can be listed."""
    from flowprior import Coupling, Path, Prior, Sampler
    from flowprior.data import DATA
    from flowprior.encoders import Encoder
    from flowprior.features import FEATURES
    from flowprior.metrics import Metric
    from flowprior.models import MODELS
    from flowprior.samplers import TimeGrid
    from flowprior.training import Callback, LossWeight, TimeDistribution

    components = (Prior.registry, Coupling.registry, Path.registry, Sampler.registry, TimeGrid.registry)
    training = (TimeDistribution.registry, LossWeight.registry, Callback.registry)
    families = (*components, MODELS, Encoder.registry, DATA, *training, Metric.registry, FEATURES)
    return dict(zip(FAMILIES, families, strict=True))


def _describe(record: Record[Any], family: str) -> dict[str, Any]:
    from flowprior.models import model_options
    from flowprior.models.base import READS, READS_MEANING

    hidden = NOT_FOR_USERS.get(family, ())
    known = model_options(record.name) if family == "models" else record.options
    options = {name: _default(value) for name, value in known.items() if name not in hidden}
    said = {READS: READS_MEANING, **option_meanings(record.factory)}
    return {
        "name": record.name,
        "aliases": list(record.aliases),
        "description": record.description,
        "options": options,
        "meanings": {name: said.get(name, "") for name in options},
    }


def _default(value: Any) -> Any:
    return "required" if value is inspect.Parameter.empty else value
