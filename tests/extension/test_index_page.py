"""The README as an index page shows it leads to no file, and loses no word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from csrc.index_page import read_index_page
from tests.extension.conftest import ROOT

PAGE = read_index_page(ROOT / "README.md")


def test_no_link_and_no_picture_leads_to_a_file() -> None:
    assert re.findall(r"\]\((?!https?://)", PAGE) == []
    assert "<img" not in PAGE
    assert "](https://arxiv.org/" in PAGE, "addresses stay"


def test_every_file_that_the_readme_links_to_is_named() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(links) > 10
    assert [link for link in links if f"`{link}`" not in PAGE] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[Install](docs/install.md) has it.", "Install (`docs/install.md`) has it."),
        ("[the rest](a.md#b)", "the rest (`a.md`)"),
        ("[a.md](a.md)", "`a.md`"),
        ("[paper](https://a.b/c)", "[paper](https://a.b/c)"),
        ("![Two flows](a/b.png)\n", "*Picture, `a/b.png`: Two flows.*\n"),
        ("[x](y.md)\n```python\nf[x](y)\n```\n", "x (`y.md`)\n```python\nf[x](y)\n```\n"),
    ],
)
def test_links_and_pictures_become_their_text_and_the_files_name(
    tmp_path: Path, text: str, expected: str
) -> None:
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    assert read_index_page(tmp_path / "README.md") == expected
