"""A user's own folder of what is given and what is to be made of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from flowprior.conditions import Condition
from flowprior.data import load_data
from flowprior.errors import DataNotFoundError, InputError

PAIRS = 10


def write(folder: Path, count: int = PAIRS) -> Path:
    """Targets 8 × 8 of one grey each, inputs 4 × 4 that are half as bright."""
    for part, side, scale in (("targets", 8, 20), ("inputs", 4, 10)):
        (folder / part).mkdir(parents=True)
        for i in range(count):
            ending = "bmp" if part == "inputs" else "png"
            Image.new("RGB", (side, side), (scale * i,) * 3).save(folder / part / f"photo{i}.{ending}")
    return folder


def test_what_belongs_together_comes_together(tmp_path):
    folder = write(tmp_path / "photos")
    parts = [load_data(f"picture-pairs:path={folder}", split) for split in ("train", "test")]
    assert [len(part) for part in parts] == [9, 1]
    for part in parts:
        x, cond = part.batch(torch.arange(len(part)))
        assert part.condition == Condition.of_shape((3, 4, 4))
        assert x.shape[1:] == (3, 8, 8)
        levels = [(picture.flatten(1)[:, 0] + 1) * 127.5 for picture in (x, cond)]
        assert torch.allclose(levels[0], 2 * levels[1], atol=1e-3)
        assert torch.equal(part.conditions(torch.arange(len(part))), cond)


def test_sizes_and_channels_are_those_asked_for(tmp_path):
    folder = write(tmp_path / "photos")
    data = load_data(f"picture-pairs:path={folder},size=6,input_size=2,channels=1")
    x, cond = data.batch(torch.tensor([0]))
    assert (x.shape, cond.shape) == ((1, 1, 6, 6), (1, 1, 2, 2))


def test_own_splits_are_kept(tmp_path):
    for split, count in (("train", 5), ("test", 3)):
        write(tmp_path / split, count)
    assert len(load_data(f"picture-pairs:path={tmp_path}", "train")) == 5
    assert len(load_data(f"picture-pairs:path={tmp_path}", "test")) == 3


def test_a_picture_without_its_other_is_named(tmp_path):
    folder = write(tmp_path / "photos")
    (folder / "inputs" / "photo3.bmp").unlink()
    with pytest.raises(InputError, match=r"'photo3' is in targets/ but not in inputs/ \(1 such\)"):
        load_data(f"picture-pairs:path={folder}")


def test_two_of_one_name_and_none_at_all_are_refused(tmp_path):
    folder = write(tmp_path / "photos")
    Image.new("RGB", (4, 4)).save(folder / "inputs" / "photo3.png")
    with pytest.raises(InputError, match="'photo3' is there with two endings"):
        load_data(f"picture-pairs:path={folder}")
    with pytest.raises(DataNotFoundError, match="picture-pairs: no pictures"):
        load_data(f"picture-pairs:path={tmp_path}")
