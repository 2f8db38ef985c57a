"""Letters that the font lacks are shown escaped, without a warning."""

from __future__ import annotations

import io
import warnings

import pytest
import torch
from PIL import Image

from flowprior.pictures import figure_bytes, points, sample_grid, save_figure
from flowprior.pictures.sheet import drawable


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


def test_no_name_and_no_title_warns() -> None:
    names = ["眠い猫", "🦄"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for figure in (
            sample_grid(torch.zeros(4, 1, 8, 8), torch.tensor([0, 0, 1, 1]), names=names, title="猫"),
            sample_grid(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), names=names, title="猫"),
            points(torch.rand(4, 2), torch.tensor([0, 0, 1, 1]), names=names, title="猫"),
        ):
            assert figure_bytes(figure)


def test_notes_go_into_the_text_of_a_png_and_nowhere_else(tmp_path) -> None:
    figure, said = sample_grid(torch.zeros(1, 1, 8, 8)), {"caption": "眠い猫", "seed": "3"}
    for name in ("s.png", "s.jpg", "s.svg", "s.pdf"):
        save_figure(figure, tmp_path / name, said)
    with Image.open(tmp_path / "s.png") as image:
        assert said.items() <= dict(getattr(image, "text", {})).items()
    plain = io.BytesIO(figure_bytes(figure))
    with Image.open(plain) as image:
        assert "caption" not in getattr(image, "text", {})
