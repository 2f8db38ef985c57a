"""What CI checks of the newcomer's environment: it accepts a bare one, and names whatever else is there."""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path

import pytest

from tests.markdown_blocks import REPOSITORY

bare = runpy.run_path(str(REPOSITORY / ".ci" / "bare.py"), run_name="bare")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """An empty clone, home folder and folder of data sets."""
    made = tmp_path / "clone", tmp_path / "home", tmp_path / "datasets"
    for folder in made:
        folder.mkdir()
    subprocess.run(["git", "init", "--quiet", str(made[0])], check=True)
    return made


@pytest.mark.parametrize(
    ("where", "name", "variables", "lines"),
    [
        (0, "", {"PATH": "/usr/bin", "HOME": "/home", "PIP_CERT": "ca.pem"}, []),
        (0, "", {"PYTHONPATH": "/somewhere"}, ["the environment has the variable PYTHONPATH"]),
        (0, "runs", {}, ["the clone has a file that git does not: runs/"]),
        (1, ".cache", {}, ["the home folder has .cache"]),
        (2, "fashion-mnist", {}, ["datasets has fashion-mnist"]),
    ],
)
def test_what_was_there_before_is_named(
    folders: tuple[Path, Path, Path], where: int, name: str, variables: dict[str, str], lines: list[str]
) -> None:
    if name:
        (folders[where] / name).mkdir()
        (folders[where] / name / "file").touch()
    found = bare["before"](*folders, variables)
    assert [line[-len(end) :] for line, end in zip(found, lines, strict=True)] == lines


def test_packages_of_another_environment_are_named(tmp_path: Path) -> None:
    after = bare["after"]
    assert "no environment" in after(tmp_path)[0]
    packages, settings = tmp_path / ".venv/lib/python3.11/site-packages", tmp_path / ".venv/pyvenv.cfg"
    packages.mkdir(parents=True)
    settings.write_text("include-system-site-packages = false\n")
    (packages / "own.pth").write_text(f"{tmp_path}\nimport something\n")
    assert after(tmp_path) == []
    (packages / "lent.pth").write_text("/opt/lent\n")
    settings.write_text("include-system-site-packages = true\n")
    assert len(after(tmp_path)) == 2
