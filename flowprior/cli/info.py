"""``flowprior info``: versions, devices, threads, backend, plug-ins; or which training data a flow holds."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer

from flowprior.cli.commands import print_json, print_rich
from flowprior.cli.options import Json
from flowprior.registry.plugins import is_foreign, package_version, points_of

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
"""The packages whose versions are shown."""


def info(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN]", help="A run, a saved flow or a saved prior to show in place."),
    ] = None,
    json: Json = False,
) -> None:
    """Show what flowprior runs on, or which training data a saved flow or prior holds."""
    from rich.table import Table

    found = _machine() if run is None else _held_by(run)
    if json:
        print_json(found)
        return
    table = Table(show_header=False, box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in found.items():
        lines = [f"{key}: {each}" for key, each in value.items()] if isinstance(value, dict) else value
        table.add_row(name, "\n".join(lines) if isinstance(lines, list) and lines else str(lines or "none"))
    print_rich(table)


def _held_by(run: Path) -> dict[str, Any]:
    """Return the prior of a run, a saved flow or a saved prior, and what it holds of its training data."""
    from flowprior.flow.files import load_prior_of
    from flowprior.priors import Prior
    from flowprior.priors.saved import DESCRIPTION
    from flowprior.registry.registry import spec_of

    prior = Prior.load(run) if (run / DESCRIPTION).is_file() else load_prior_of(run)
    return {"prior": spec_of(Prior.registry, prior), "training data": prior.kept_data or None}


def _machine() -> dict[str, Any]:
    """Return versions, devices, threads, the backend and what it was built for, and plug-ins."""
    import platform

    import torch

    from flowprior.ops.backend import backend
    from flowprior.storage.user_paths import cache_folder

    running, native = backend(), None
    if running.name == "native":
        native = {"instruction_set": running.instruction_set, "devices": sorted(running.devices)}
        native |= running.build
    count = torch.cuda.device_count()
    versions = {name: package_version(name, "not installed") for name in PACKAGES}
    groups = sorted(group for group in entry_points().groups if group.startswith("flowprior."))
    return {
        "versions": {"python": platform.python_version(), **versions},
        "platform": platform.platform(),
        "devices": ["cpu", *(f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(count))],
        "threads": torch.get_num_threads(),
        "ops": str(running),
        "native": native,
        "cache": str(cache_folder()),
        "plug-ins": [
            f"{group}: {point.name} = {point.value}"
            for group in groups
            for point in points_of(group)
            if is_foreign(point)
        ],
    }
