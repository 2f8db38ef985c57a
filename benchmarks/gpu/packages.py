"""The packages that a run needs, and which of them this machine lacks; the bundle brings some.

What is there already is left alone: only what is missing is installed, into a folder of its own that the
steps' processes look into, too.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.gpu.command import ROOT, run_command
from benchmarks.gpu.steps import BUNDLE, SITE, Job, StepError, Values

BUILD = ("ninja", "pybind11")
TESTS = ("pytest", "hypothesis")
NAME = re.compile(r"^[A-Za-z0-9._-]+")


def required() -> list[str]:
    """What flowprior, its build and its tests cannot do without, torch first."""
    return [*_names(_project()["dependencies"]), *BUILD, *TESTS]


def optional() -> list[str]:
    """What more a run shows where it is there: the peers, and the features ``lite0``."""
    peers = (ROOT / "benchmarks" / "peers.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in peers if not line.startswith(("#", "scanpy"))]
    return [*_names(lines), *_names(_project()["optional-dependencies"]["lite0"])]


def missing(names: Iterable[str]) -> list[str]:
    """Those of the packages that are not installed."""
    return [name for name in names if not _is_there(name)]


def run(job: Job) -> Values:
    """Install what is missing and in the bundle; afterwards say what is still missing.

    Raises:
        StepError: something that a run cannot do without.
    """
    wheels = wheels_of(ROOT / BUNDLE)
    lacking, brought = missing([*required(), *optional()]), missing(wheels)
    values: Values = {"bundle": sorted(wheels), "missing": lacking}
    if job.rehearsal:
        return values | {"would_install": brought}
    if brought:
        _install([wheels[name] for name in brought], job)
        lacking = [name for name in lacking if _plain(name) not in brought]
        values |= {"installed": brought, "missing": lacking}
    job.report(values)
    if needed := [name for name in lacking if name in required()]:
        raise StepError(f"missing here, and not in the bundle: {', '.join(needed)}")
    return values


def wheels_of(bundle: Path) -> dict[str, Path]:
    """The wheels of a bundle by the name of their package; none where there is no bundle."""
    return {_plain(path.name.split("-")[0]): path for path in sorted(bundle.glob("wheels/*.whl"))}


def _install(wheels: list[Path], job: Job) -> None:
    words = [
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--upgrade",
        "--target",
        str(ROOT / SITE),
    ]
    finished = run_command([sys.executable, "-m", *words, *map(str, wheels)], job.left)
    if finished.code or finished.cut:
        raise StepError(f"pip did not install the bundle's wheels: {finished.end()}")


def _is_there(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _names(lines: Iterable[str]) -> list[str]:
    return [found[0] for line in lines if (found := NAME.match(line))]


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")
