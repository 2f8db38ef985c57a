"""``flowprior info``: versions, devices, threads, backend of the ops, plug-ins."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from flowprior.cli.catalogue import registries
from flowprior.cli.commands import print_json, print_rich
from flowprior.cli.options import Json
from flowprior.registry import package_version

if TYPE_CHECKING:
    from rich.table import Table

    from flowprior.ops.backend import Backend

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


def info(json: Json = False) -> None:
    """Show what flowprior runs on."""
    found = _collect()
    if json:
        print_json(found)
    else:
        print_rich(_table(found))


def _collect() -> dict[str, Any]:
    import platform

    import torch

    from flowprior.ops import backend
    from flowprior.storage.cache import cache_folder

    running = backend()
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: package_version(name, "not installed") for name in PACKAGES},
        },
        "platform": platform.platform(),
        "devices": _devices(),
        "threads": torch.get_num_threads(),
        "ops": str(running),
        "native": _native(running),
        "cache": str(cache_folder()),
        "plug-ins": _plugins(),
    }


def _native(running: Backend) -> dict[str, Any] | None:
    """What the native extension is and uses; None in pure torch."""
    if running.name != "native":
        return None
    return {"instruction_set": running.instruction_set, "devices": sorted(running.devices), **running.build}


def _devices() -> list[str]:
    import torch

    return ["cpu"] + [
        f"cuda:{index} ({torch.cuda.get_device_name(index)})" for index in range(torch.cuda.device_count())
    ]


def _plugins() -> list[dict[str, str]]:
    return [
        {
            "group": group,
            "name": point.name,
            "value": point.value,
            "package": point.dist.name if point.dist else "",
        }
        for group in (registry.group for registry in registries().values() if registry.group)
        for point in entry_points(group=group)
    ]


def _table(found: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table(show_header=False, box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    rows = {**found["versions"], **{key: value for key, value in found.items() if key != "versions"}}
    rows["devices"] = ", ".join(found["devices"])
    rows["native"] = _native_lines(found["native"])
    rows["plug-ins"] = (
        "\n".join(f"{p['group']}: {p['name']} = {p['value']}" for p in found["plug-ins"]) or "none"
    )
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table


def _native_lines(native: dict[str, Any] | None) -> str:
    if native is None:
        return "not in use"
    cuda = f"{native['cuda']} for {', '.join(native['architectures'])}" if native["cuda"] else "not built"
    return "\n".join(
        [
            f"instruction set: {native['instruction_set']}, of {', '.join(native['instruction_sets'])}",
            f"built against: torch {native['torch']}, for {native['torch_abi']} or newer (stable ABI)",
            f"CUDA: {cuda}",
            f"compiler: {native['compiler']}",
        ]
    )
