"""The house holds its order: layers, no import upwards, no circles, nothing loose, nothing private borrowed.

The list of layers is the one in docs/architecture.md, which a reader sees; the imports are read from the
source, those inside functions and under ``TYPE_CHECKING`` too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "flowprior"
PAGE = REPOSITORY / "docs" / "architecture.md"
FACE, EXTENSIONS = "flowprior", "flowprior.extensions"
"""The package itself: it names the public doors, and only the command line asks it for them."""


class Import(NamedTuple):
    """``module`` imports ``name`` from ``target``; no name where it imports the module itself."""

    module: str
    target: str
    name: str | None


# -- reading ------------------------------------------------------------------------------------


@cache
def modules() -> Mapping[str, Path]:
    """Every module of the package, by its dotted name; a package is its ``__init__``."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> tuple[Import, ...]:
    """Every import of one module of the package by another, wherever it stands in the file."""
    return tuple(found for module, path in modules().items() for found in imports_of(module, path))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(module: str, path: Path) -> Iterator[Import]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, None) for alias in node.names if is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports with the whole name of the module"
            if is_ours(node.module or ""):
                yield from (imported(module, node.module or "", alias.name) for alias in node.names)


def is_ours(name: str) -> bool:
    return name.split(".")[0] == FACE


def imported(module: str, source: str, name: str) -> Import:
    inner = f"{source}.{name}"
    return Import(module, inner, None) if inner in modules() else Import(module, source, name)


def lines() -> dict[str, int]:
    """Subpackage -> its line in the list of layers, counted from the last; read from the page."""
    block = re.search(r"^```text\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert block, "docs/architecture.md has no list of layers"
    listed = [line.rpartition(":")[2] for line in block[1].splitlines() if line.strip()]
    parts = [[part.strip() for part in line.split(",")] for line in listed]
    return {part: number for number, line in enumerate(reversed(parts)) for part in line}


def part_of(module: str) -> str:
    return module.split(".")[1]


# -- holding ------------------------------------------------------------------------------------


def test_every_subpackage_has_a_line_and_nothing_lies_loose_at_the_root() -> None:
    """Files and folders of the package are the parts of the page, and ``__init__`` and ``__main__``."""
    parts = {part_of(module) for module in modules() if module != FACE}
    assert parts - {"__main__"} == set(lines())
    loose = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert loose <= {"registry", "conditions", "errors", "storage"}


def test_the_page_says_what_each_subpackage_is() -> None:
    text = PAGE.read_text(encoding="utf-8")
    missing = [part for part in lines() if f"| `{part}` |" not in text]
    assert not missing


def upward(found: Iterable[Import]) -> set[tuple[str, str]]:
    """Imports from a subpackage on the same line or on one above."""
    line = lines()
    return {
        (module, target)
        for module, target, _ in found
        if FACE not in (module, target)
        and part_of(module) not in ("__main__", part_of(target))
        and line[part_of(module)] <= line[part_of(target)]
    }


def test_imports_point_down() -> None:
    """A subpackage imports from parts below it, and from itself."""
    assert not upward(imports())


def test_an_import_from_an_earlier_layer_into_a_later_one_is_found(tmp_path: Path) -> None:
    file = tmp_path / "base.py"
    file.write_text("def sample():\n    from flowprior.flow.flow import Flow\n    return Flow\n")
    found = upward([*imports(), *imports_of("flowprior.priors.base", file)])
    assert found == {("flowprior.priors.base", "flowprior.flow.flow")}


def test_nothing_imports_an_extension() -> None:
    """But the extension itself; they join by the entry points of pyproject.toml."""
    for module, target, _ in imports():
        assert not target.startswith(f"{EXTENSIONS}.") or extension_of(module) == extension_of(target)


def extension_of(module: str) -> list[str]:
    return module.split(".")[:3]


def test_the_public_face_is_asked_by_the_command_line_alone() -> None:
    askers = {module for module, target, _ in imports() if target == FACE}
    assert {part_of(module) for module in askers} <= {"cli", "__main__"}


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {module: set() for module in modules()}
    for module, target, _ in imports():
        if module != target:
            graph[module].add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' <- '.join(error.args[1])}")


def test_nothing_private_is_imported_from_another_file() -> None:
    private = re.compile(r"\._(?!_)")
    assert not [found for found in imports() if private.search(f"{found.target}.{found.name or ''}")]


def test_dataclasses_of_the_core_are_read_only() -> None:
    """A component keeps and shares what it was given, so nobody may change it on the way."""
    core = {"registry", "conditions", "ops", "mixtures", "priors", "couplings", "paths", "samplers"}
    for module in modules():
        if module != FACE and part_of(module) in core:
            for found in vars(import_module(module)).values():
                assert not is_dataclass(found) or found.__dataclass_params__.frozen, found


SELDOM_NEEDED = {
    "pandas",
    "jinja2",
    "matplotlib",
    "torchvision",
    "diffusers",
    "transformers",
    "huggingface_hub",
}


def test_packages_that_not_everybody_needs_are_imported_where_they_are_used() -> None:
    """At the top of no file that ``import flowprior``, ``train``, ``sample`` or ``evaluate`` reads."""
    everyday = {"registry", "storage", "streams", "networks", "ops", "mixtures", "priors", "couplings"}
    everyday |= {"paths", "data", "models", "samplers", "encoders", "flow", "training", "metrics"}
    everyday |= {"evaluation", "cli", "pictures"}
    for module, path in modules().items():
        if module == FACE or part_of(module) in everyday:
            top = parsed(path).body
            names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
            names |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
            assert not SELDOM_NEEDED & {name.split(".")[0] for name in names}, path
