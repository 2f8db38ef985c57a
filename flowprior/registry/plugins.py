"""The components and commands that installed packages add, and the versions of packages."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

from flowprior.errors import OptionError

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
"""The file that declares flowprior's own entry points, in a checkout."""


def points_of(group: str) -> list[EntryPoint]:
    """Return the entry points of a group such as ``"flowprior.priors"``; none is imported.

    In a checkout flowprior's own come from its ``pyproject.toml``: the metadata of an editable installation
    may be older than the code.
    """
    declared = _declared()
    own = [EntryPoint(name, value, group) for name, value in declared.get(group, {}).items()]
    return [*own, *(point for point in entry_points(group=group) if not declared or is_foreign(point))]


def load_point(group: str, name: str, owner: str) -> Any:
    """Load the entry point ``name`` of a group.

    Raises:
        OptionError: no installed package has it, or it cannot be loaded; ``owner`` says who needs it.
    """
    point = next((point for point in points_of(group) if point.name == name), None)
    needed = f"{owner} needs '{name}' of {group}, which"
    if point is None:
        raise OptionError(f"{needed} no installed package has; install one that does")
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        raise OptionError(f"{needed} cannot be loaded ({error}); install what it needs") from error


def is_foreign(point: EntryPoint) -> bool:
    """Return whether an entry point is of another package than flowprior."""
    return point.dist is None or point.dist.name != "flowprior"


@cache
def _declared() -> dict[str, dict[str, str]]:
    """Return the entry points of this checkout by group and name; none where flowprior is installed."""
    if not PYPROJECT.is_file():
        return {}
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8")).get("project", {})
    return project["entry-points"] if project.get("name") == "flowprior" else {}


def package_version(package: str = "flowprior", missing: str = "unknown") -> str:
    """The installed version of ``package``; ``missing`` where it is not installed, or runs from a folder."""
    try:
        return version(package)
    except PackageNotFoundError:
        return missing
