"""Arrays of pictures: bytes, layouts and ranges are read right or refused, on every road."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flowprior.data import load_data
from flowprior.data.base import as_data
from flowprior.errors import InputError
from flowprior.streams.datasets import DatasetData
from flowprior.streams.user_tensors import tensor_data


def saved(x: torch.Tensor, folder, ending: str):
    file = folder / f"x.{ending}"
    if ending == "npz":
        np.savez(file, x=x.numpy())
    else:
        torch.save(x, file)
    return load_data(str(file), test_fraction=0)


ROADS = {
    "tensor": lambda x, _: tensor_data(x),
    "array": lambda x, _: as_data(x.numpy()),
    "npz": lambda x, folder: saved(x, folder, "npz"),
    "pt": lambda x, folder: saved(x, folder, "pt"),
    "dataset": lambda x, _: DatasetData(list(x)),
}
every_road = pytest.mark.parametrize("road", ROADS.values(), ids=ROADS)


@every_road
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_with_channels_last_come_out_with_channels_first(road, channels, tmp_path):
    pixels = torch.randint(256, (20, 6, 8, channels), dtype=torch.uint8)
    expected = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
    for x in (pixels, pixels.float() / 127.5 - 1):
        data = road(x, tmp_path)
        assert (data.event_shape, data.is_image) == ((channels, 6, 8), True)
        assert torch.equal(data.batch(torch.arange(20))[0], expected)


@every_road
@pytest.mark.parametrize("last", [False, True])
def test_floating_point_pictures_in_0_to_255_are_refused(road, last, tmp_path):
    x = torch.randint(256, (32, 3, 8, 8)).float()
    x = x.permute(0, 2, 3, 1).contiguous() if last else x
    with pytest.raises(InputError, match=r"scaled to \[-1, 1\], got torch.float32 .* from \d+ to 2\d\d"):
        road(x, tmp_path).batch(torch.arange(32))


@pytest.mark.parametrize("dtype", [np.int64, np.uint16])
def test_pictures_of_whole_numbers_that_are_no_bytes_are_refused(dtype):
    x = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1)).astype(dtype)
    with pytest.raises(InputError, match="expected pictures as bytes"):
        as_data(x)


def test_grey_bytes_without_a_channel_are_pictures():
    x = torch.randint(256, (20, 28, 28), dtype=torch.uint8)
    data = tensor_data(x)
    assert data.is_image
    assert torch.equal(data.x, x[:, None].float() / 127.5 - 1)


@pytest.mark.parametrize("x", [torch.zeros(4, 8, 9, 4, dtype=torch.uint8), torch.rand(4, 8, 8, 2)])
def test_pictures_with_transparency_are_refused(x):
    with pytest.raises(InputError, match="lay transparency on white"):
        as_data(x)


@pytest.mark.parametrize("shape", [(5, 16, 8, 8), (5, 4, 8, 8), (5, 1, 8, 8), (5, 8, 8)])
def test_events_that_are_no_pictures_stay_as_they_are(shape):
    x = 9 * torch.randn(shape)
    data = tensor_data(x)
    assert torch.equal(data.x, x)
    assert not data.is_image


def test_a_few_bright_items_alone_do_not_tell_the_range():
    fields = torch.randn(40, 1, 4, 4) * 9
    fields[3] = fields[3].abs()
    assert DatasetData(list(fields)).batch(torch.tensor([3]))[0].shape == (1, 1, 4, 4)
