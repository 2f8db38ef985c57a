"""Picture files of every depth: read right or refused; sizes are looked at before anything is decoded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from flowprior.data import load_data
from flowprior.data.picture_files import picture_size, read_picture
from flowprior.errors import InputError
from flowprior.streams.data import MOST_NUMBERS, TensorData

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
