"""Grids of images, and files of figures: every pixel in its place, rows and columns named, every format."""

from __future__ import annotations

import io
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image

from flowprior.errors import CheckpointError, InputError
from flowprior.pictures import beside, first_of_each, points, sample_grid, save_figure
from flowprior.pictures.saving import SUFFIXES, figure_bytes
from flowprior.pictures.sheet import clipped, drawable, wrapped

PITCH = 48 + 4
"""Small images are enlarged to 48 pixels or more, and have a frame and a gap of one pixel each."""
FIRST = 2


def squares(count: int, value: float = -1.0) -> torch.Tensor:
    return torch.full((count, 1, 6, 6), value)


def test_images_are_enlarged_by_whole_numbers_and_stand_row_by_row(show) -> None:
    values = torch.tensor([-1.0, float("nan"), 1.0, 5.0])
    shown = show(sample_grid(values.view(4, 1, 1, 1).expand(4, 1, 6, 6), columns=2)).canvas
    for number, brightness in enumerate([0, 128, 255, 255]):
        top, left = (FIRST + PITCH * place for place in divmod(number, 2))
        assert (shown[top : top + 48, left : left + 48] == brightness).all()
    assert shown.shape == (2 * PITCH, 2 * PITCH, 3)


def test_every_pixel_is_in_its_place(show, generator: torch.Generator) -> None:
    x = torch.randint(0, 256, (2, 3, 50, 60), generator=generator)
    shown = show(sample_grid(x / 127.5 - 1, columns=2)).canvas
    for image, left in zip(x, (FIRST, FIRST + 60 + 4), strict=True):
        assert np.array_equal(shown[FIRST : FIRST + 50, left : left + 60], image.permute(1, 2, 0).numpy())


def test_opacity_lets_the_paper_through(show) -> None:
    x = torch.full((1, 4, 50, 50), -1.0)
    x[0, 3, :25] = 1.0
    shown = show(sample_grid(x)).canvas
    image = shown[FIRST : FIRST + 50, FIRST : FIRST + 50]
    assert (image[:25] == 0).all()
    assert (image[25:] == 255).all()


def test_labels_become_named_rows_whatever_their_order(show) -> None:
    labels = torch.tensor([2, 0, 2, 0, 0, 7])
    x = (labels / 7).view(6, 1, 1, 1).expand(6, 1, 6, 6)
    assert show(sample_grid(x, labels, names=["$\\frac$", "_", "a_b"])).words == ["$\\frac$", "a_b", "7"]
    shown = show(sample_grid(x, labels, title="$x"))
    assert shown.words == ["0", "2", "7", "$x"]
    rows = [shown.canvas[20 + PITCH * row, 20::PITCH, 0].tolist() for row in range(3)]
    assert rows == [[128] * 3, [164, 164, 255], [255, 255, 255]], "white where a class has fewer"


def test_without_classes_a_square_and_a_large_class_takes_several_lines(show) -> None:
    for cond in (None, torch.zeros(10, 3)):
        shown = show(sample_grid(squares(10), cond))
        assert (shown.words, shown.canvas.shape[:2]) == ([], (3 * PITCH, 4 * PITCH))
    lines = show(sample_grid(squares(12), torch.arange(12) // 6, columns=4)).canvas
    assert lines.shape[:2] == (4 * PITCH, 4 * PITCH), "a class of six takes two lines of four"
    assert (lines[20::PITCH, 20::PITCH, 0] == 0).sum() == 12


def test_panels_share_their_rows(show) -> None:
    labels = torch.arange(3).repeat_interleave(2)
    panels = {"mean of data": (squares(2), torch.tensor([0, 2])), "the flow": (squares(6, 0.0), labels)}
    shown = show(beside(panels))
    assert shown.words == ["0", "1", "2", "mean of\ndata", "the flow"]
    first, *_, last = shown.canvas[20 + PITCH, :, 0], shown.canvas[20, :, 0]
    assert set(first[:PITCH].tolist()) == {255}, "the first panel has no image of class 1"
    assert (last == 0).sum() == 48
    assert (last == 128).sum() == 96


def test_no_words_overlap(show) -> None:
    labels = torch.arange(4).repeat_interleave(4)
    mean = (squares(4), torch.arange(4))
    names = ["T-shirt/top", "Ankle boot that is long" + 9 * " and longer", 90 * "x", "眠い猫 🦄"]
    panels = {"mean of data": mean, "mean of a long prior": mean, "prior": (squares(16), labels)}
    figure = beside(panels, names=names, title="猫")
    figure_bytes(figure)
    texts = [text for text in figure.findobj(Text) if text.get_text()]  # type: ignore[attr-defined]
    boxes = [text.get_window_extent() for text in texts]
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    assert all(box.x0 >= 0 and box.y0 >= 0 for box in boxes)
    assert all(box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1 for box in boxes)


@pytest.mark.parametrize("name", ["short", "two words and some more of them " * 4, 99 * "x"])
def test_long_names_are_wrapped_and_cut(name: str) -> None:
    lines = wrapped(name, 16).split("\n")
    assert len(lines) <= 3
    assert max(map(len, lines)) <= 16
    assert lines[-1].endswith("…") == (len(name) > 48)
    assert name.startswith(lines[0])
    assert clipped(name, 50) == (name if len(name) <= 50 else name[:49] + "…")


def test_the_first_of_each_class() -> None:
    labels = torch.tensor([1, 0, 1, 0, 2, 2, 1, 0, 2, 0])
    assert first_of_each(labels, 10, each=3).tolist() == [1, 3, 7, 0, 2, 6, 4, 5, 8]
    assert labels[first_of_each(labels, 10, each=2, most=2)].tolist() == [0, 0, 1, 1]
    assert first_of_each(None, 100).tolist() == list(range(36))
    assert first_of_each(torch.zeros(5, 2), 5).tolist() == list(range(5))


@pytest.mark.parametrize("shape", [(3, 2, 8, 8), (3, 4, 4), (0, 1, 8, 8)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="picture: expected"):
        beside({"": (torch.zeros(shape), None)})


def test_more_images_than_a_figure_holds_are_refused() -> None:
    with pytest.raises(InputError, match=r"more than a picture can hold; draw fewer, or write an \.npz"):
        sample_grid(squares(1).expand(8000, -1, -1, -1), columns=8)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a sleepy cat", "a sleepy cat"),
        ("größe, ¿qué?, кот", "größe, ¿qué?, кот"),
        ("猫", "\\u732b"),
        ("cat 🦄", "cat \\U0001f984"),
        ("a\x00b\x1b", "a\\x00b\\x1b"),
        ("", ""),
    ],
)
def test_what_the_font_lacks_is_escaped(text: str, shown: str) -> None:
    assert drawable(text) == shown


def test_notes_go_into_the_text_of_a_png_and_nowhere_else(tmp_path) -> None:
    figure, said = sample_grid(torch.zeros(1, 1, 8, 8)), {"caption": "眠い猫", "seed": "3"}
    for name in ("s.png", "s.jpg", "s.svg", "s.pdf"):
        save_figure(figure, tmp_path / name, said)
    with Image.open(tmp_path / "s.png") as image:
        assert said.items() <= dict(getattr(image, "text", {})).items()
    plain = io.BytesIO(figure_bytes(figure))
    with Image.open(plain) as image:
        assert "caption" not in getattr(image, "text", {})


# -- files of figures -----------------------------------------------------------------------------


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
