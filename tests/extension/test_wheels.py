"""What pip gets: wheels with the extension and without, editable installs, source archives, requirements.

The hooks run as pip runs them, in a process of their own, on the small repository with our own build files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from csrc.parameters import module_name
from tests.extension.conftest import ROOT, needs_compiler, write_sources

HOOK = "import sys; from setuptools import build_meta as made; print(getattr(made, sys.argv[1])(sys.argv[2]))"


class Wheel(NamedTuple):
    tag: str
    names: set[str]
    record: dict[str, object]
    log: str


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The small repository with our setup.py, MANIFEST.in and csrc/*.py."""
    root = tmp_path / "tree"
    root.mkdir()
    write_sources(root)
    for name in ("setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root)
    for path in (ROOT / "csrc").glob("*.py"):
        shutil.copy(path, root / "csrc")
    return root


def call(tree: Path, hook: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLOWPRIOR_", "CXX"))}
    return subprocess.run(
        [sys.executable, "-c", HOOK, hook, str(tree.parent / "out")],
        cwd=tree,
        env={**kept, **variables},
        capture_output=True,
        text=True,
    )


def wheel(tree: Path, **variables: str) -> Wheel:
    done = call(tree, "build_wheel", **variables)
    assert done.returncode == 0, done.stderr
    (path,) = (tree.parent / "out").glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        names = {name for name in archive.namelist() if name.startswith("flowprior/")}
        record = json.loads(archive.read("flowprior/_build.json"))
        (info,) = (name for name in archive.namelist() if name.endswith("/WHEEL"))
        pure = b"Root-Is-Purelib: true" in archive.read(info)
    path.unlink()
    tag = path.stem.split("-", 2)[2]
    assert pure == (tag == "py3-none-any")
    return Wheel(tag, names, record, done.stderr)


@needs_compiler
def test_a_wheel_with_the_extension_is_for_this_platform(tree: Path) -> None:
    built = wheel(tree)
    assert built.tag.startswith(f"cp{sys.version_info.major}{sys.version_info.minor}-cp")
    assert built.names == {"flowprior/__init__.py", "flowprior/_build.json", f"flowprior/{module_name()}"}
    assert built.record["variant"] in ("cpu", "cuda")


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"FLOWPRIOR_BUILD": "none"}, "FLOWPRIOR_BUILD=none asked for none"),
        ({"CXX": "no-such-compiler"}, "no C++ compiler was found (no-such-compiler)"),
    ],
)
def test_a_wheel_without_it_is_for_every_platform(tree: Path, variables: dict[str, str], reason: str) -> None:
    built = wheel(tree, **variables)
    assert built.tag == "py3-none-any"
    assert built.names == {"flowprior/__init__.py", "flowprior/_build.json"}
    assert str(built.record["reason"]).startswith(reason)
    lines = [line for line in built.log.splitlines() if reason in line]
    assert lines[0].startswith("flowprior: pure Python (")


def test_what_was_demanded_and_cannot_be_built_is_an_error(tree: Path) -> None:
    done = call(tree, "build_wheel", FLOWPRIOR_BUILD="cpu", CXX="no-such-compiler")
    expected = "error: FLOWPRIOR_BUILD=cpu: no C++ compiler was found (no-such-compiler); "
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1].startswith(expected)


@needs_compiler
def test_an_editable_install_builds_in_place(tree: Path) -> None:
    library = tree / "flowprior" / module_name()
    for variables, built in (({}, True), ({"FLOWPRIOR_BUILD": "none"}, False)):
        done = call(tree, "build_editable", **variables)
        assert done.returncode == 0, done.stderr
        assert library.exists() == built
    assert json.loads((tree / "flowprior" / "_build.json").read_text())["requested"] == "none"


def test_a_source_archive_holds_the_sources_and_no_products(tree: Path) -> None:
    (tree / "flowprior" / "_build.json").write_text("{}")
    (tree / "flowprior" / module_name()).write_text("")
    assert call(tree, "build_sdist").returncode == 0
    (path,) = (tree.parent / "out").glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"csrc/answer.h", "csrc/module.cpp", "csrc/cpu/kernels/answer.cpp", "csrc/build.py"} <= names
    assert not [name for name in names if name.endswith((".so", "_build.json"))]
