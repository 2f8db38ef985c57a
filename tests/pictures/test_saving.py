"""Files of figures: every format, the same twice, one line where it cannot be written, old names."""

from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
import pytest
import torch

from flowprior.errors import CheckpointError
from flowprior.pictures import points, sample_grid, save_figure
from flowprior.pictures.saving import SUFFIXES, figure_bytes

IMAGES = torch.zeros(4, 1, 8, 8)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_is_written_and_the_folder_made(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / f"g{suffix}"
    save_figure(sample_grid(IMAGES, torch.arange(4)), path)
    starts = {".svg": b"<?xml", ".pdf": b"%PDF", ".png": b"\x89PNG", ".webp": b"RIFF"}
    assert path.read_bytes().startswith(starts.get(suffix, b"\xff\xd8"))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_an_svg_holds_its_text_as_text_and_no_date() -> None:
    svg = figure_bytes(sample_grid(IMAGES, torch.arange(4), names=["a cat", "b", "c", "d"]), "svg").decode()
    assert re.search(r"<text[^>]*>a cat</text>", svg)
    assert "<dc:date>" not in svg


def test_a_pdf_holds_its_text_in_a_font_that_can_be_searched() -> None:
    pdf = figure_bytes(points(torch.zeros(3, 2)), "pdf")
    assert b"/Subtype /CIDFontType2" in pdf or b"/Subtype /TrueType" in pdf
    assert b"/Subtype /Type3" not in pdf
    assert b"/CreationDate" not in pdf


def test_a_picture_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    figure = sample_grid(IMAGES)
    with pytest.raises(CheckpointError, match="cannot write"):
        save_figure(figure, tmp_path / "file" / "g.png")
    with pytest.raises(
        CheckpointError, match=r"cannot write .*g\.nosuchformat; choose a name that ends in \.png"
    ):
        save_figure(figure, tmp_path / "g.nosuchformat")


def test_the_same_figure_is_the_same_file_whatever_the_threads() -> None:
    labels = torch.arange(4)
    kinds = ["png", "svg", "pdf"] * 3
    alone = [figure_bytes(sample_grid(IMAGES, labels), kind) for kind in kinds]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda kind: figure_bytes(sample_grid(IMAGES, labels), kind), kinds))
    assert alone == together


def test_drawing_leaves_settings_and_pyplot_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it would fail
    before = matplotlib.rcParams.copy()
    for kind in ("svg", "pdf", "png"):
        assert figure_bytes(sample_grid(torch.zeros(1, 1, 8, 8)), kind)
    assert matplotlib.rcParams.copy() == before
