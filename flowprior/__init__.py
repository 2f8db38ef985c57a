"""Designed priors, couplings and samplers for conditional flow matching.

The names below are imported on first use, so that ``import flowprior`` and ``flowprior --help`` are fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowprior.couplings import Coupling
    from flowprior.evaluation import evaluate
    from flowprior.flow import Flow
    from flowprior.paths import Path
    from flowprior.priors import Prior
    from flowprior.samplers import Sampler
    from flowprior.training import train

    __version__: str

__all__ = ["Coupling", "Flow", "Path", "Prior", "Sampler", "__version__", "evaluate", "train"]

_HOMES = {
    "Coupling": "flowprior.couplings",
    "Flow": "flowprior.flow",
    "Path": "flowprior.paths",
    "Prior": "flowprior.priors",
    "Sampler": "flowprior.samplers",
    "evaluate": "flowprior.evaluation",
    "train": "flowprior.training",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from flowprior.registry.plugins import package_version

        return package_version()
    if name not in _HOMES:
        raise AttributeError(f"module 'flowprior' has no attribute '{name}'")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
