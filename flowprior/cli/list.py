"""``flowprior list``: what can be named, with its options and their defaults."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowprior.cli.commands import print_json, print_rich
from flowprior.cli.options import Json
from flowprior.registry import Record, Registry, choose

if TYPE_CHECKING:
    from rich.table import Table

FAMILIES = (
    "priors",
    "couplings",
    "paths",
    "samplers",
    "grids",
    "models",
    "encoders",
    "data",
    "times",
    "weights",
    "callbacks",
    "metrics",
    "features",
)
NOT_FOR_USERS = {"models": ("event_shape", "condition", "inputs"), "data": ("split",)}


def list_components(
    family: Annotated[
        str | None, typer.Argument(metavar=f"[{'|'.join(FAMILIES)}]", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """List components and their options, plug-ins included."""
    chosen = FAMILIES if family is None else (choose("list", "family", family, FAMILIES),)
    found = {name: [_describe(record, name) for record in _records(name)] for name in chosen}
    if json:
        print_json(found)
    else:
        print_rich(*(_table(name, components) for name, components in found.items()))


def _records(family: str) -> list[Record[Any]]:
    registry = registries()[family]
    return [registry.record(name) for name in registry.available()]


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

    hidden = NOT_FOR_USERS.get(family, ())
    known = model_options(record.name) if family == "models" else record.options
    options = {name: _default(value) for name, value in known.items() if name not in hidden}
    return {
        "name": record.name,
        "aliases": list(record.aliases),
        "description": record.description,
        "options": options,
    }


def _default(value: Any) -> Any:
    return "required" if value is inspect.Parameter.empty else value


def _table(family: str, components: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(title=family, title_justify="left", show_lines=True)
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("description")
    table.add_column("options")
    for component in components:
        names = "\n".join([component["name"], *component["aliases"]])
        options = "\n".join(f"{name}={value}" for name, value in component["options"].items())
        table.add_row(names, component["description"].replace("``", ""), options)
    return table
