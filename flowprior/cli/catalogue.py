"""Every component that can be named, with options, defaults and what they mean, as plain values.

To know them everything has to be imported, torch too.
"""

from __future__ import annotations

import inspect
import json
from typing import Any

from flowprior.cli.names import FAMILIES
from flowprior.registry import Record, Registry, option_meanings

NOT_FOR_USERS = {"models": ("event_shape", "condition", "inputs", "interval"), "data": ("split",)}
Catalogue = dict[str, list[dict[str, Any]]]
"""Family -> its components: name, aliases, description, options (name -> default) and their meanings."""


def catalogue() -> Catalogue:
    """The components of every family, plug-ins included."""
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
