"""Folders of pictures of every depth and mode, and of what is given and what is to be made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flowprior.conditions import Condition
from flowprior.data import load_data
from flowprior.data.folder import FolderData
from flowprior.data.picture_files import picture_size, read_picture
from flowprior.errors import DataNotFoundError, InputError
from flowprior.streams.data import MOST_NUMBERS, TensorData

PAIRS = 10


def paint(file, colour=(255, 0, 0), size=(6, 4), mode="RGB"):
    """One picture of a single colour; ``size`` is (width, height)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(file)


@pytest.fixture
def animals(tmp_path):
    for index in range(10):
        paint(tmp_path / "cat" / f"{index}.png", (index, 0, 0))
        paint(tmp_path / "ape" / "more" / f"{index}.png", (0, index, 0))
    (tmp_path / "ape" / "notes.txt").write_text("no picture")
    (tmp_path / "empty").mkdir()
    paint(tmp_path / ".hidden" / "0.png")
    return tmp_path


def test_subfolders_are_classes_in_alphabetical_order(animals):
    data = load_data(str(animals), test_fraction=0)
    assert data.class_names == ["ape", "cat"]
    assert data.condition.size == 2
    x, labels = data.batch(torch.arange(20))
    assert labels.tolist() == [0] * 10 + [1] * 10
    red, green = x[:, 0, 0, 0], x[:, 1, 0, 0]
    torch.testing.assert_close(green[:10], torch.arange(10) / 127.5 - 1)
    torch.testing.assert_close(red[10:], torch.arange(10) / 127.5 - 1)
    again, labels = data.batch(torch.tensor([15, 2, 15]))
    assert labels.tolist() == [1, 0, 1]
    assert torch.equal(again, x[[15, 2, 15]])
    assert data.batch(torch.tensor([], dtype=torch.long))[0].shape == (0, 3, 4, 6)


def test_held_out_pictures_are_disjoint_and_stratified(animals):
    train, test = (
        load_data(f"folder:path={animals},test_fraction=0.2", split) for split in ("train", "test")
    )
    assert not set(train.files) & set(test.files)
    assert len(train) + len(test) == 20
    assert torch.bincount(test.labels).tolist() == [2, 2]


def test_flat_folders_have_no_condition(tmp_path):
    for index in range(3):
        paint(tmp_path / f"{index}.png", (index, 0, 0))
    data = load_data(str(tmp_path), test_fraction=0)
    assert data.condition.kind == "none"
    assert data.batch(torch.arange(2))[1] is None
    assert data.event_shape == (3, 4, 6)
    assert data.is_image


@pytest.mark.parametrize("held_out", ["test", "val"])
def test_own_splits_are_used_and_share_their_classes(held_out, tmp_path):
    for name in ("ape", "bee", "cat"):
        paint(tmp_path / "train" / name / "0.png")
    paint(tmp_path / held_out / "cat" / "1.png")
    assert len(load_data(str(tmp_path))) == 3
    test = load_data(str(tmp_path), "test")
    assert test.class_names == ["ape", "bee", "cat"]
    assert test.batch(torch.arange(1))[1].tolist() == [2]
    paint(tmp_path / held_out / "dog" / "1.png")
    with pytest.raises(InputError, match="class 'dog' is not in"):
        load_data(str(tmp_path), "test")


@pytest.mark.parametrize("size", [(9, 5), (3, 8), (2, 2)])
def test_size_scales_and_crops_without_distortion(size, tmp_path):
    paint(tmp_path / "0.png", (200, 100, 0), size)
    data = load_data(f"folder:path={tmp_path},size=4,test_fraction=0")
    x, _ = data.batch(torch.arange(1))
    assert x.shape == (1, 3, 4, 4)
    torch.testing.assert_close(x[0, :, 2, 2], torch.tensor([200, 100, 0]) / 127.5 - 1)


def test_the_crop_is_central(tmp_path):
    pixels = np.zeros((4, 12, 3), dtype=np.uint8)
    pixels[:, 4:8] = 255
    Image.fromarray(pixels).save(tmp_path / "0.png")
    x, _ = load_data(f"folder:path={tmp_path},size=4,test_fraction=0").batch(torch.arange(1))
    assert (x == 1).all()


def test_without_size_all_pictures_must_agree(tmp_path):
    paint(tmp_path / "0.png", size=(6, 4))
    paint(tmp_path / "1.png", size=(6, 5))
    data = load_data(str(tmp_path), test_fraction=0)
    with pytest.raises(InputError, match=r"1.png: expected 6 x 4 pixels .* got 6 x 5; pass size="):
        data.batch(torch.tensor([1]))


def test_grey_palette_and_transparent_pictures_are_converted(tmp_path):
    paint(tmp_path / "a.png", 51, mode="L")
    paint(tmp_path / "b.png", (255, 0, 0, 0), mode="RGBA")
    Image.new("RGB", (6, 4), (0, 0, 255)).convert("P").save(tmp_path / "c.gif")
    x, _ = load_data(str(tmp_path), test_fraction=0).batch(torch.arange(3))
    torch.testing.assert_close(x[0, :, 0, 0], torch.full((3,), 51 / 127.5 - 1))
    assert torch.equal(x[1, :, 0, 0], torch.ones(3))
    assert torch.equal(x[2, :, 0, 0], torch.tensor([-1.0, -1, 1]))
    grey = load_data(str(tmp_path), test_fraction=0, channels=1)
    assert grey.batch(torch.arange(3))[0].shape == (3, 1, 4, 6)


def test_pictures_are_decoded_only_when_asked_for(animals):
    data = load_data(str(animals), test_fraction=0)
    data.files[3].write_bytes(b"gone")
    assert data.batch(torch.tensor([2]))[0].shape == (1, 3, 4, 6)
    with pytest.raises(InputError, match=r"3.png: cannot be decoded as an image"):
        data.batch(torch.tensor([2, 3]))


def test_truncated_pictures_are_named(tmp_path, generator):
    pixels = torch.randint(256, (32, 32, 3), generator=generator, dtype=torch.uint8).numpy()
    for ending in ("png", "jpg"):
        file = tmp_path / f"whole.{ending}"
        Image.fromarray(pixels).save(file)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(InputError, match=rf"whole.{ending}: cannot be decoded"):
            FolderData([file], size=32).batch(torch.arange(1))


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda inputs: (inputs / "photo3.bmp").unlink(),
            r"'photo3' is in targets/ but not in inputs/ \(1 such\)",
        ),
        (lambda inputs: paint(inputs / "photo3.png"), "'photo3' is there with two suffixes"),
        (lambda inputs: inputs.rename(inputs.parent / "other"), "picture-pairs: no images"),
    ],
)
def test_pictures_that_are_no_pairs_are_named(change, message, tmp_path):
    change(write(tmp_path / "photos") / "inputs")
    with pytest.raises((InputError, DataNotFoundError), match=message):
        load_data(f"picture-pairs:path={tmp_path / 'photos'}")


# -- every depth and mode of image files ----------------------------------------------------------


GREY = np.array([[0, 1000, 30000], [40000, 60000, 65535]], dtype=np.uint16)


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_of_grey_are_kept(ending, channels, tmp_path):
    file = tmp_path / f"a.{ending}"
    Image.fromarray(GREY).save(file)
    expected = torch.from_numpy(GREY.astype(np.float32)) / 32767.5 - 1
    x = read_picture(file, None, channels)
    assert x.shape == (channels, 2, 3)
    torch.testing.assert_close(x, expected.expand(channels, 2, 3), atol=1e-6, rtol=0)
    data = load_data(f"folder:path={tmp_path},channels={channels},test_fraction=0")
    torch.testing.assert_close(data.batch(torch.tensor([0]))[0][0], x)


def test_sixteen_bits_of_grey_are_scaled_as_eight_are(tmp_path):
    grey = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    Image.fromarray(grey).save(tmp_path / "8.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    eight, sixteen = (read_picture(tmp_path / f"{name}.png", (9, 7), 1) for name in (8, 16))
    torch.testing.assert_close(eight, sixteen, atol=1.5 / 127.5, rtol=0)
    assert float(sixteen.abs().max()) <= 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("size", ["", ",size=3"])
def test_every_mode_of_eight_bits_is_read(mode, size, tmp_path):
    kind = "jpg" if mode == "YCbCr" else "tif"  # Pillow 12 cannot read the TIFF files of YCbCr that it writes
    Image.new(mode, (5, 5)).save(tmp_path / f"a.{kind}")
    data = load_data(f"folder:path={tmp_path},test_fraction=0{size}")
    assert float(data.batch(torch.tensor([0]))[0].abs().max()) <= 1


def test_a_file_is_not_read_by_what_its_name_does_not_say(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    with pytest.raises(InputError, match=r"a.png: cannot be decoded as an image"):
        load_data(str(tmp_path), test_fraction=0)


def test_batches_of_large_events_hold_fewer_of_them():
    large = TensorData(torch.zeros(1, 1).expand(10, MOST_NUMBERS // 4))
    assert large.batches().size == 4
    assert TensorData(torch.zeros(10, 3)).batches().size == 4096


@pytest.mark.parametrize("ending", ["jpg", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_as_the_camera_says(orientation, ending, tmp_path):
    """A bright corner that comes to the top left, however the camera was held."""
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (-1, 0), 7: (-1, -1), 8: (0, -1)}
    stored = np.zeros((8, 16) if orientation < 5 else (16, 8), np.uint8)
    stored[corner[orientation]] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"a.{ending}"
    Image.fromarray(stored).save(file, exif=exif, quality=100, lossless=True)
    assert picture_size(file) == (8, 16)
    picture = read_picture(file, None, 1)
    assert picture.shape == (1, 8, 16)
    assert picture.argmax() == 0
