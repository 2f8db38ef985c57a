"""The official batches of ImageNet at 64 pixels, small and written by the test, malformed ones included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from flowprior.data import load_data
from flowprior.data.imagenet64 import ImageNet64
from flowprior.errors import DataNotFoundError, InputError, OptionError
from tests.data_folders import ROWS, write_imagenet64


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLOWPRIOR_CACHE", str(tmp_path / "cache"))


def load(root: Path, split: str = "train", batches: int = 2) -> ImageNet64:
    return load_data(f"imagenet64:path={root},batches={batches}", split)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_pixels_and_labels_are_those_of_the_files(save, tmp_path):
    data = load(write_imagenet64(tmp_path / "data", save=save))
    stored = [np.load(tmp_path / "data" / f"train_data_batch_{number}.npz") for number in (1, 2)]
    pixels = np.concatenate([file["data"] for file in stored]).reshape(-1, 3, 64, 64)
    order = torch.tensor([9, 0, 4, 5, 0])
    x, labels = data.batch(order)
    torch.testing.assert_close(x, torch.from_numpy(pixels[order.numpy()] / 127.5 - 1).float())
    assert (
        labels.tolist() == (np.concatenate([file["labels"] for file in stored]) - 1)[order.numpy()].tolist()
    )
    assert (len(data), data.condition.size, data.event_shape) == (10, 1000, (3, 64, 64))
    assert data.batch(torch.zeros(0, dtype=torch.long))[0].shape == (0, 3, 64, 64)
    assert len(load(tmp_path / "data", "test")) == ROWS


def test_arrays_are_copied_once_and_mapped(tmp_path):
    root = write_imagenet64(tmp_path / "data", save=np.savez_compressed)
    data = load(root)
    assert all(isinstance(rows, np.memmap) for rows in data._pixels.arrays)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()}
    load(root)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()} == before
    assert not [file for file in before if file.suffix != ".npy"]


def test_a_file_that_changed_is_copied_anew(tmp_path):
    file = tmp_path / "train_data_batch_1.npz"
    for rows in (2, 3):
        np.savez(file, data=np.zeros((rows, 12288), np.uint8), labels=np.ones(rows, int))
        assert len(load(tmp_path, batches=1)) == rows


def test_classes_have_the_names_of_the_official_list(tmp_path):
    root = write_imagenet64(tmp_path)
    assert load(root).class_names is None
    lines = [f"n{number:08} {number} kind_of_{number}" for number in range(1000, 0, -1)]
    (root / "map_clsloc.txt").write_text("\n".join(lines) + "\n")
    assert load(root).class_names[:2] == ["kind of 1", "kind of 2"]
    (root / "map_clsloc.txt").write_text("\n".join(lines[:-1]))
    with pytest.raises(InputError, match=r"map_clsloc.txt: expected 1,000 lines .* got 999"):
        load(root)


def test_where_it_is_not_there_one_line_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.delenv("FLOWPRIOR_DATA", raising=False)
    with pytest.raises(
        DataNotFoundError, match=r"imagenet64: path is missing; unpack Imagenet64_train_part1_npz.zip"
    ):
        load_data("imagenet64")
    write_imagenet64(tmp_path / "imagenet64", batches=2)
    with pytest.raises(
        DataNotFoundError, match=r"no .*train_data_batch_3.npz; unpack Imagenet64_train_part1"
    ):
        load(tmp_path / "imagenet64", batches=10)
    monkeypatch.setenv("FLOWPRIOR_DATA", str(tmp_path))
    assert len(load_data("imagenet64:batches=2")) == 10
    with pytest.raises(OptionError, match="batches=0 is not possible"):
        load_data("imagenet64:batches=0")


GOOD = {"data": np.zeros((3, 12288), np.uint8), "labels": np.array([1, 2, 1000])}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.array([1, 0, 3])}, "expected labels of 1 to 1000, got 0"),
        ({"labels": np.array([1, 1001, 3])}, "expected labels of 1 to 1000, got 1001"),
        (
            {"labels": np.array([1, 2])},
            r"and 'data' as uint8 \[N, 12288\], .* got int64 \[2\] and uint8 \[3, 12288\]",
        ),
        ({"labels": np.array([1.0, 2, 3])}, "expected 'labels' as whole numbers .* got float64"),
        ({"labels": np.array([1, 2, 3], object)}, "'labels' cannot be read .*Python objects"),
        ({"data": np.zeros((3, 3072), np.uint8)}, r"images of 64 x 64 pixels.* and uint8 \[3, 3072\]"),
        ({"data": np.zeros((3, 64, 64, 3), np.uint8)}, r"and uint8 \[3, 64, 64, 3\]"),
        ({"data": np.zeros((3, 12288), np.float32)}, "and float32"),
        ({"data": np.zeros((0, 12288), np.uint8)}, r"and uint8 \[0, 12288\]"),
        ({"data": None}, "the array 'data' cannot be read"),
        ({"labels": None}, "the array 'labels' cannot be read"),
    ],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_other_content_is_refused(changes, message, save, tmp_path):
    kept = {name: array for name, array in (GOOD | changes).items() if array is not None}
    save(tmp_path / "train_data_batch_1.npz", **kept)
    with pytest.raises(InputError, match=f"train_data_batch_1.npz: .*{message}") as caught:
        load(tmp_path, batches=1)
    assert "\n" not in str(caught.value)


def test_damaged_files_are_refused_and_leave_nothing_half_written(tmp_path):
    root = write_imagenet64(tmp_path, batches=1)
    file = root / "train_data_batch_1.npz"
    whole = file.read_bytes()
    for damaged in (b"", b"no archive", whole[: len(whole) // 2]):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=r"train_data_batch_1.npz: the array 'labels' cannot be read"):
            load(root, batches=1)
    noise = np.random.default_rng(0).integers(256, size=99_999)
    np.savez_compressed(file, data=noise, labels=np.ones(8, int))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    with pytest.raises(InputError, match="the array 'data' cannot be read"):
        load(root, batches=1)
    assert len(list((tmp_path / "cache").glob("*"))) == 1, "that of the labels"
