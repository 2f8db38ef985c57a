"""What CI checks of the newcomer's environment: it accepts a bare one, and names whatever else is there."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.markdown_blocks import REPOSITORY


@pytest.fixture(scope="module")
def bare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bare", REPOSITORY / ".ci" / "bare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """An empty clone, home folder and folder of data sets."""
    made = tmp_path / "clone", tmp_path / "home", tmp_path / "datasets"
    for folder in made:
        folder.mkdir()
    subprocess.run(["git", "init", "--quiet", str(made[0])], check=True)
    return made


def test_a_bare_environment_is_accepted(bare: ModuleType, folders: tuple[Path, Path, Path]) -> None:
    assert bare.before(*folders, {"PATH": "/usr/bin", "HOME": "/home", "PIP_CERT": "ca.pem"}) == []


@pytest.mark.parametrize(
    ("where", "name", "line"),
    [
        (0, "runs", "the clone has a file that git does not: runs/"),
        (1, ".cache", "the home folder has .cache"),
        (2, "fashion-mnist", "datasets has fashion-mnist"),
    ],
)
def test_what_was_there_before_is_named(
    bare: ModuleType, folders: tuple[Path, Path, Path], where: int, name: str, line: str
) -> None:
    (folders[where] / name).mkdir()
    (folders[where] / name / "file").touch()
    found = bare.before(*folders, {})
    assert len(found) == 1
    assert found[0].endswith(line)


def test_a_variable_of_the_callers_is_named(bare: ModuleType, folders: tuple[Path, Path, Path]) -> None:
    found = bare.before(*folders, {"PYTHONPATH": "/somewhere"})
    assert found == ["the environment has the variable PYTHONPATH"]


def test_packages_of_another_environment_are_named(bare: ModuleType, tmp_path: Path) -> None:
    assert "no environment" in bare.after(tmp_path)[0]
    packages = tmp_path / ".venv" / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    settings = tmp_path / ".venv" / "pyvenv.cfg"
    settings.write_text("include-system-site-packages = false\n")
    (packages / "own.pth").write_text(f"{tmp_path}\nimport something\n")
    assert bare.after(tmp_path) == []
    (packages / "lent.pth").write_text("/opt/lent\n")
    settings.write_text("include-system-site-packages = true\n")
    assert len(bare.after(tmp_path)) == 2
