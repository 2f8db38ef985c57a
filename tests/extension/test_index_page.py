"""The README as an index page shows it leads to no file, and loses no word."""

from __future__ import annotations

import re
from pathlib import Path

from csrc.index_page import read_index_page
from tests.extension.conftest import ROOT

PAGE = read_index_page(ROOT / "README.md")


def page_of(tmp_path: Path, text: str) -> str:
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    return read_index_page(tmp_path / "README.md")


def test_no_link_and_no_picture_leads_to_a_file() -> None:
    assert re.findall(r"\]\((?!https?://)", PAGE) == []
    assert "<img" not in PAGE
    assert "](https://arxiv.org/" in PAGE, "addresses stay"


def test_every_file_that_the_readme_links_to_is_named() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(links) > 10
    assert [link for link in links if f"`{link}`" not in PAGE] == []


def test_a_link_becomes_its_text_and_the_files_name(tmp_path: Path) -> None:
    assert page_of(tmp_path, "[Install](docs/install.md) has it.") == "Install (`docs/install.md`) has it."
    assert page_of(tmp_path, "[the rest](a.md#b)") == "the rest (`a.md`)"
    assert page_of(tmp_path, "[a.md](a.md)") == "`a.md`"
    assert page_of(tmp_path, "[paper](https://a.b/c)") == "[paper](https://a.b/c)"


def test_a_picture_becomes_its_description(tmp_path: Path) -> None:
    assert page_of(tmp_path, "![Two flows](a/b.png)\n") == "*Picture, `a/b.png`: Two flows.*\n"


def test_code_stays_as_it_is(tmp_path: Path) -> None:
    code = "```python\nf[x](y)\n```\n"
    assert page_of(tmp_path, f"[x](y.md)\n{code}") == f"x (`y.md`)\n{code}"
