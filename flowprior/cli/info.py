"""``flowprior info``: versions, devices, threads, backend, plug-ins; or which training data a flow holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowprior.cli.catalogue import registries
from flowprior.cli.commands import print_json, print_rich
from flowprior.cli.options import Json
from flowprior.registry.plugins import is_foreign, package_version, points_of

if TYPE_CHECKING:
    from rich.table import Table

PACKAGES = (
    "flowprior",
    "torch",
    "torchvision",
    "POT",
    "torchdiffeq",
    "numpy",
    "scipy",
    "scikit-learn",
    "safetensors",
)


Saved = Annotated[
    Path | None,
    typer.Argument(metavar="[RUN]", help="A run, a saved flow or a saved prior to show in place."),
]


def info(run: Saved = None, json: Json = False) -> None:
    """Show what flowprior runs on, or which training data a saved flow or prior holds."""
    found = _collect() if run is None else _held_by(run)
    if json:
        print_json(found)
    else:
        print_rich(_table(found))


def _held_by(run: Path) -> dict[str, Any]:
    """The prior of a run, a saved flow or a saved prior, and what it holds of its training data."""
    from flowprior.flow.files import load_prior_of
    from flowprior.priors import Prior
    from flowprior.priors.saved import DESCRIPTION
    from flowprior.registry.registry import spec_of

    prior = Prior.load(run) if (run / DESCRIPTION).is_file() else load_prior_of(run)
    return {"prior": spec_of(Prior.registry, prior), "training data": prior.kept_data or None}


def _collect() -> dict[str, Any]:
    """Return versions, devices, threads, the backend and what it was built for, and plug-ins."""
    import platform

    import torch

    from flowprior.ops import backend
    from flowprior.storage.user_paths import cache_folder

    running, native = backend(), None
    if running.name == "native":
        native = {"instruction_set": running.instruction_set, "devices": sorted(running.devices)}
        native |= running.build
    count = torch.cuda.device_count()
    devices = [f"cuda:{index} ({torch.cuda.get_device_name(index)})" for index in range(count)]
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: package_version(name, "not installed") for name in PACKAGES},
        },
        "platform": platform.platform(),
        "devices": ["cpu", *devices],
        "threads": torch.get_num_threads(),
        "ops": str(running),
        "native": native,
        "cache": str(cache_folder()),
        "plug-ins": [
            {
                "group": group,
                "name": point.name,
                "value": point.value,
                "package": point.dist.name if point.dist else "",
            }
            for group in (registry.group for registry in registries().values() if registry.group)
            for point in filter(is_foreign, points_of(group))
        ],
    }


def _table(found: dict[str, Any]) -> Table:
    """Two columns: each version, and every other entry as one line for each of its values."""
    from rich.table import Table

    table = Table(show_header=False, box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    rows = dict(found.get("versions", {})) | {key: value for key, value in found.items() if key != "versions"}
    for name, value in rows.items():
        table.add_row(name, ", ".join(value) if name == "devices" else _lines(value))
    return table


def _lines(value: Any) -> str:
    """A line for each entry of a mapping, and for each plug-in."""
    if isinstance(value, dict):
        return "\n".join(f"{name}: {each}" for name, each in value.items())
    if isinstance(value, list):
        points = [f"{each['group']}: {each['name']} = {each['value']}" for each in value]
        return "\n".join(points) or "none"
    return str(value or "none")
