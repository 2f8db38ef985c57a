"""Arrays on disk and arrays of pictures: read right, and every way in which they can be wrong."""

from __future__ import annotations

import zipfile
from importlib import import_module

import numpy as np
import pytest
import torch

from flowprior.data import load_data
from flowprior.data.base import as_data
from flowprior.errors import DataNotFoundError, InputError, OptionError
from flowprior.streams.datasets import DatasetData
from flowprior.streams.user_tensors import tensor_data

X = torch.arange(60, dtype=torch.float32).reshape(20, 3)
LABELS = torch.arange(20) % 2


def save(file, **arrays):
    if file.suffix == ".npz":
        np.savez(file, **{key: np.asarray(value) for key, value in arrays.items()})
    else:
        torch.save(arrays, file)
    return str(file)


every_format = pytest.mark.parametrize("ending", ["npz", "pt"])


@every_format
@pytest.mark.parametrize("key", ["cond", "y", "labels"])
def test_events_and_labels_come_back(ending, key, tmp_path):
    path = save(tmp_path / f"data.{ending}", x=X, **{key: LABELS})
    data = load_data(path, test_fraction=0)
    assert torch.equal(data.x, X)
    assert torch.equal(data.cond, LABELS)
    assert data.condition.size == 2


@every_format
def test_embeddings_and_nothing_come_back(ending, tmp_path):
    assert load_data(save(tmp_path / f"a.{ending}", x=X)).condition.kind == "none"
    data = load_data(save(tmp_path / f"b.{ending}", x=X, cond=X.double()))
    assert data.condition.kind == "embeddings"
    assert torch.equal(data.cond, data.x)


@every_format
def test_a_file_can_bring_its_own_test_split(ending, tmp_path):
    path = save(tmp_path / f"data.{ending}", x=X, y=LABELS, x_test=X[:3] + 1, y_test=torch.zeros(3).long())
    assert len(load_data(path)) == 20
    test = load_data(path, "test")
    assert torch.equal(test.x, X[:3] + 1)
    assert test.condition.size == 2


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"x_test": X[:3]}, "expected int64 labels .*, got None"),
        ({"x_test": X[:3, :2], "y_test": LABELS[:3]}, r"got \[2\]"),
        ({"x_test": X[:3], "y_test": LABELS[:3] + 4}, "cond has label 4, expected labels 0..1"),
    ],
)
def test_a_test_split_unlike_the_training_split_is_refused(extra, message, tmp_path):
    path = save(tmp_path / "data.npz", x=X, y=LABELS, **extra)
    with pytest.raises(InputError, match=message):
        load_data(path, "test")


def test_a_tensor_and_a_pair_may_be_saved_alone(tmp_path):
    torch.save(X, tmp_path / "x.pt")
    torch.save((X, LABELS), tmp_path / "pair.pt")
    assert torch.equal(load_data(str(tmp_path / "x.pt"), test_fraction=0).x, X)
    assert torch.equal(load_data(str(tmp_path / "pair.pt"), test_fraction=0).cond, LABELS)


def test_foreign_byte_orders_are_read(tmp_path):
    swapped = save(tmp_path / "swapped.npz", x=X.numpy().astype(">f8"), y=LABELS.numpy().astype(np.uint16))
    assert torch.equal(load_data(swapped, test_fraction=0).x, X)


@every_format
def test_missing_and_unnamed_files(ending, tmp_path):
    with pytest.raises(DataNotFoundError, match=r"no file .*pass path="):
        load_data(str(tmp_path / f"absent.{ending}"))
    with pytest.raises(OptionError, match="path is missing"):
        load_data("arrays")


def test_pickled_objects_are_never_loaded(tmp_path):
    torch.save({"x": X, "run": print}, tmp_path / "data.pt")
    with pytest.raises(InputError, match="expected tensors only"):
        load_data(str(tmp_path / "data.pt"))
    np.savez(tmp_path / "data.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match=r"data.npz: cannot be read \(Object arrays cannot be loaded"):
        load_data(str(tmp_path / "data.npz"))


def test_bytes_are_counted_as_the_numbers_that_they_become(tmp_path, monkeypatch):
    """Pictures of one byte a pixel take four as float32."""
    monkeypatch.setattr(import_module("flowprior.streams.array_files"), "MOST_UNPACKED_BYTES", 1 << 20)
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((500, 32, 32), np.uint8))
    with pytest.raises(InputError, match=r"x\.npz: .* bytes would unpack to 2,048,000, more than 100 times"):
        load_data(str(tmp_path / "x.npz"))


def test_packed_files_of_tensors_are_counted_before_they_are_read(tmp_path, monkeypatch):
    """torch.save does not pack, but torch.load unpacks."""
    monkeypatch.setattr(import_module("flowprior.streams.array_files"), "MOST_UNPACKED_BYTES", 1 << 20)
    torch.save(torch.zeros(1 << 19, 1), tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(InputError, match=r"x\.pt: .* bytes would unpack to 2,.*, more than 100 times"):
        load_data(str(tmp_path / "x.pt"))


# -- arrays of images -----------------------------------------------------------------------------


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
