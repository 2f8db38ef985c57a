"""Names of components for the shell to complete, read from the source, so that torch is not imported."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import flowprior

FAMILIES = {
    "priors": ("priors", "Prior"),
    "couplings": ("couplings", "Coupling"),
    "paths": ("paths", "Path"),
    "samplers": ("samplers", "Sampler"),
    "grids": ("samplers", "TimeGrid"),
    "models": ("models", "MODELS"),
    "encoders": ("encoders", "Encoder"),
    "data": ("data", "DATA"),
    "times": ("training", "TimeDistribution"),
    "weights": ("training", "LossWeight"),
    "callbacks": ("training", "Callback"),
    "metrics": ("metrics", "Metric"),
    "features": ("features", "FEATURES"),
}
"""Family -> its room, and what registers its components there."""
GROUPS = {"weights": "loss_weights"}
"""Entry-point groups that are not called as the family is."""
_REGISTERED = re.compile(r'^@(\w+)\.register\(\s*"([^"]+)"', re.MULTILINE)


def completing(family: str, *others: str) -> Callable[[str], list[str]]:
    """What typer asks for the names that begin with what was typed.

    Args:
        family: of the components.
        others: words that may stand in their place, such as ``auto``.
    """

    def complete(incomplete: str) -> list[str]:
        return [word for word in (*others, *names_of(family)) if word.startswith(incomplete)]

    return complete


def names_of(family: str) -> list[str]:
    """Sorted names of the components of a family, and of the entry points through which plug-ins join it."""
    room, registry = FAMILIES[family]
    found = set()
    for file in Path(flowprior.__file__).parent.joinpath(room).glob("*.py"):
        pairs = _REGISTERED.findall(file.read_text(encoding="utf-8"))
        found |= {name for at, name in pairs if at == registry}
    points = entry_points(group=f"flowprior.{GROUPS.get(family, family)}")
    return sorted(found | {point.name for point in points})
