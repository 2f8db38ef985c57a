"""Pictures: sizes, pixels, colours, and what cannot be drawn or written."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flowprior.errors import CheckpointError, FlowpriorError, InputError
from flowprior.pictures import GREY, save_grid, save_picture, save_scatter


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_a_grid_has_the_size_of_its_images_and_gaps(tmp_path: Path) -> None:
    save_grid(tmp_path / "g.png", torch.zeros(7, 3, 5, 4), columns=3, scale=2)
    assert pixels(tmp_path / "g.png").shape == (3 * (10 + 2) + 2, 3 * (8 + 2) + 2, 3)


def test_images_stand_row_by_row_and_are_clamped(tmp_path: Path) -> None:
    values = torch.tensor([-1.0, 0.0, 1.0, 5.0])
    save_grid(tmp_path / "g.png", values.view(4, 1, 1, 1).expand(4, 1, 6, 6), columns=2, scale=1)
    shown = pixels(tmp_path / "g.png")
    corners = [shown[2, 2], shown[2, 10], shown[10, 2], shown[10, 10]]
    assert corners == [0, 128, 255, 255]
    assert shown[0, 0] == 255


def test_every_pixel_is_in_its_place(tmp_path: Path, generator: torch.Generator) -> None:
    x = torch.randint(0, 256, (1, 3, 4, 5), generator=generator)
    save_grid(tmp_path / "g.png", x / 127.5 - 1, scale=1)
    assert np.array_equal(pixels(tmp_path / "g.png")[2:6, 2:7], x[0].permute(1, 2, 0).numpy())


@pytest.mark.parametrize("count", [1, 5])
def test_gaps_and_edges_are_white_or_as_asked(tmp_path: Path, count: int) -> None:
    x = -torch.ones(count, 1, 6, 6)
    for options, brightness in (({}, 255), ({"gap": GREY}, 128)):
        save_grid(tmp_path / "g.png", x, columns=3, scale=1, **options)
        shown = pixels(tmp_path / "g.png")
        assert np.unique(shown).tolist() == [0, brightness]
        assert (shown == 0).sum() == count * 36


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_channels_are_kept(tmp_path: Path, generator: torch.Generator, channels: int, mode: str) -> None:
    x = torch.randint(0, 256, (2, channels, 4, 4), generator=generator)
    save_grid(tmp_path / "g.png", x / 127.5 - 1, scale=1)
    with Image.open(tmp_path / "g.png") as image:
        assert image.mode == mode
    second = pixels(tmp_path / "g.png").reshape(8, 14, channels)[2:6, 8:12]
    assert np.array_equal(second, x[1].permute(1, 2, 0).numpy())


def test_small_images_are_enlarged_by_whole_numbers(tmp_path: Path) -> None:
    save_grid(tmp_path / "g.png", torch.zeros(1, 1, 8, 8))
    assert pixels(tmp_path / "g.png").shape == (8 * 4 + 4, 8 * 4 + 4)


@pytest.mark.parametrize(
    ("labels", "columns"),
    [([0] * 6 + [1] * 6, 6), ([3] * 12, 4), ([0, 1] * 6, 4), ([0] * 5 + [1] * 7, 4), (None, 4)],
)
def test_equal_runs_of_labels_become_rows(tmp_path: Path, labels: list[int] | None, columns: int) -> None:
    cond = None if labels is None else torch.tensor(labels)
    save_grid(tmp_path / "g.png", torch.zeros(12, 1, 8, 8), cond, scale=1)
    assert pixels(tmp_path / "g.png").shape[1] == columns * 10 + 2


@pytest.mark.parametrize("cond", [None, torch.arange(30) % 3, torch.linspace(0, 1, 30)[:, None]])
def test_points_are_scattered(tmp_path: Path, generator: torch.Generator, cond: torch.Tensor | None) -> None:
    save_picture(tmp_path / "p.png", torch.randn(30, 2, generator=generator), cond)
    shown = pixels(tmp_path / "p.png")
    assert shown.shape[:2] == (720, 720)
    colourful = (shown[..., :3].max(-1) - shown[..., :3].min(-1)) > 60
    assert colourful.sum() > 50


def test_real_points_are_grey_underneath(tmp_path: Path, generator: torch.Generator) -> None:
    samples, real = torch.randn(30, 2, generator=generator), 3 * torch.randn(300, 2, generator=generator)
    counts = []
    for options in ({}, {"real": real}, {"real": torch.zeros(1, 2)}):
        save_scatter(tmp_path / "p.png", samples, **options)
        counts.append(int((pixels(tmp_path / "p.png")[..., :3] == 204).all(-1).sum()))
    assert counts[1] > counts[2] + 100
    assert counts[2] > counts[0]


def test_points_without_matplotlib_say_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(FlowpriorError, match=r"pip install 'flowprior\[plot\]'"):
        save_picture(tmp_path / "p.png", torch.zeros(3, 2))


@pytest.mark.parametrize("shape", [(3, 2, 8, 8), (3, 5), (3, 4, 4), (0, 1, 8, 8)])
def test_what_cannot_be_drawn_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="picture: expected"):
        save_picture(tmp_path / "p.png", torch.zeros(shape))
    with pytest.raises(InputError, match="expected points"):
        save_scatter(tmp_path / "p.png", torch.zeros(3, 3))
    with pytest.raises(InputError, match="expected points"):
        save_scatter(tmp_path / "p.png", torch.zeros(3, 2), real=torch.zeros(2))


def test_a_picture_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for name in ("file/g.png", "g.nosuchformat"):
        with pytest.raises(CheckpointError, match="cannot write"):
            save_grid(tmp_path / name, torch.zeros(1, 1, 8, 8))
