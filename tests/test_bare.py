"""What the scripts of CI check: that a newcomer's environment is bare, and that the size only goes down."""

from __future__ import annotations

import json
import runpy
import subprocess
from pathlib import Path
from typing import Any

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


# -- what CI counts as the size -------------------------------------------------------------------


@pytest.fixture
def size() -> dict[str, Any]:
    return runpy.run_path(str(REPOSITORY / ".ci" / "size.py"))["main"].__globals__


def test_each_kind_of_file_is_counted(size: dict[str, Any], tmp_path: Path) -> None:
    size["ROOT"] = tmp_path
    for name, text in (
        ("flowprior/a.py", "x = 1\n"),
        ("flowprior/part/__init__.py", '__all__ = ["a", "b", "c"]\n'),
        ("flowprior/extensions/a.py", "x = 1\ny = 2\n"),
        ("csrc/a.cpp", "\n\n"),
        ("docs/a.md", "two words"),
        ("b.py", "y"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    counts = size["measure"]([path.relative_to(tmp_path) for path in tmp_path.rglob("*.*")])
    assert {name: count for name, count in counts.items() if count} == {
        "flowprior statements": 2,
        "flowprior files": 2,
        "public names": 3,
        "extensions statements": 2,
        "csrc lines": 2,
        "docs words": 2,
    }


@pytest.mark.parametrize(("words", "status", "kept"), [(2, 0, 2), (3, 0, 2), (1, 1, 1)])
def test_the_record_only_goes_down(
    size: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: int, status: int, kept: int
) -> None:
    size["RECORD"] = tmp_path / "size.json"
    size["RECORD"].write_text(json.dumps({"docs words": words}))
    size["measure"] = lambda files: {"docs words": 2}
    monkeypatch.setattr("sys.argv", ["size.py", "--write"])
    assert size["main"]() == status
    assert json.loads(size["RECORD"].read_text())["docs words"] == kept
