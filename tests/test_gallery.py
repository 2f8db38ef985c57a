"""The pages of the gallery: complete, in order, run with small budgets, skipped where a peer is missing."""

from __future__ import annotations

import importlib.util
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from matplotlib.figure import Figure

from flowprior.priors import Prior
from tests.markdown_blocks import REPOSITORY, shortened

EXAMPLES = REPOSITORY / "examples"
PAGES = sorted(EXAMPLES.glob("*/*.py"))
NEEDS = re.compile(r'^# sphinx_gallery_needs = "(.+)"$', re.MULTILINE)


def names(page: Path) -> str:
    return f"{page.parent.name}/{page.stem}"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a page registers or writes does not outlive its test."""
    monkeypatch.setattr(Prior.registry, "_records", dict(Prior.registry._records))
    monkeypatch.setattr(Prior.registry, "_aliases", dict(Prior.registry._aliases))
    monkeypatch.setenv("FLOWPRIOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def test_there_are_twelve_pages_or_more() -> None:
    assert len(PAGES) >= 12


def test_every_folder_of_pages_has_a_header_and_a_place_in_the_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("sphinx_gallery", reason="the docs extra is not installed")
    monkeypatch.syspath_prepend(str(REPOSITORY / "docs" / "extensions"))
    import gallery_pages

    assert {page.parent.name for page in PAGES} == set(gallery_pages.SECTIONS)
    assert list(gallery_pages.pages()) == [
        page for section in gallery_pages.SECTIONS for page in PAGES if page.parent.name == section
    ]
    assert all((EXAMPLES / section / "GALLERY_HEADER.rst").is_file() for section in gallery_pages.SECTIONS)


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_a_page_has_a_title_and_ends_a_block_with_its_picture(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert lines[0] == '"""'
    assert set(lines[2]) == {"="}
    assert len(lines[2]) == len(lines[1])
    assert {"figure", "scatter"} & set(lines), "no line that shows a picture"
    assert 30 <= len(lines) <= 110


def missing_pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    import gallery_pages

    monkeypatch.setattr(gallery_pages.importlib.util, "find_spec", lambda name: None)
    yield from (page.stem for page in gallery_pages.pages() if gallery_pages.missing(page))


def test_a_page_whose_peer_is_not_there_is_not_run_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("sphinx_gallery", reason="the docs extra is not installed")
    monkeypatch.syspath_prepend(str(REPOSITORY / "docs" / "extensions"))
    import gallery_pages

    assert "torchcfm_loop" in set(missing_pages(monkeypatch))
    pattern = gallery_pages.runnable()
    assert not re.search(pattern, str(EXAMPLES / "loops" / "torchcfm_loop.py"))
    assert re.search(pattern, str(EXAMPLES / "loops" / "own_network.py"))
    source = ["Title\n=====\n\nText.\n"]
    gallery_pages.add_note(SimpleNamespace(srcdir=tmp_path), "gallery/loops/torchcfm_loop", source)
    assert "``torchcfm`` was not installed" in source[0]
    assert source[0].index("=====") < source[0].index(".. note::") < source[0].index("Text.")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=names)
def test_a_page_runs_and_draws_with_small_budgets(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in filter(None, ", ".join(NEEDS.findall(text)).split(", ")):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    script = tmp_path / page.name
    script.write_text(re.sub(r"range\((800|1000)\)", "range(2)", shortened(text)), encoding="utf-8")
    left = runpy.run_path(str(script))
    assert any(isinstance(value, Figure) and value.axes for value in left.values())
