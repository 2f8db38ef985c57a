"""What CI counts as the size of the repository, and that its record only goes down."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from tests.markdown_blocks import REPOSITORY


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
