"""Folders that ``datasets`` writes: pictures, arrays, labels and captions, and rows that cannot be read."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from flowprior.data import load_data
from flowprior.data.huggingface import HuggingFaceData
from flowprior.errors import DataNotFoundError, InputError, OptionError
from tests.data_records import picture, reds

datasets = pytest.importorskip("datasets")
datasets.disable_progress_bars()


def pictures(count=8, labels=None, spoilt=(), **columns):
    """A data set of pictures whose red is their row, with labels of two classes."""
    contents = [b"no picture" if row in spoilt else picture(row) for row in range(count)]
    images = [{"bytes": content, "path": None} for content in contents]
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    values = {"image": images, "label": labels or [row % 2 for row in range(count)], **columns}
    made = datasets.Dataset.from_dict(values)
    return made.cast(datasets.Features({**made.features, **features}))


def test_pictures_and_labels_come_back_in_any_order(tmp_path):
    pictures().save_to_disk(tmp_path)
    data = load_data(str(tmp_path), test_fraction=0)
    assert isinstance(data, HuggingFaceData)
    x, cond = data.batch(torch.tensor([5, 0, 5, 2]))
    assert reds(x) == [5, 0, 5, 2]
    assert cond.tolist() == [1, 0, 1, 0]
    assert (data.class_names, data.event_shape, data.is_image) == (["cat", "dog"], (3, 8, 8), True)
    assert data.fingerprint() == load_data(str(tmp_path), test_fraction=0).fingerprint()


def test_own_splits_and_divided_ones(tmp_path):
    pictures(10).save_to_disk(tmp_path / "one")
    parts = [load_data(str(tmp_path / "one"), split, test_fraction=0.2) for split in ("train", "test")]
    found = [reds(part.batch(torch.arange(len(part)))[0]) for part in parts]
    assert sorted(found[0] + found[1]) == list(range(10))
    splits = {"train": pictures(6), "validation": pictures(4)}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "two")
    assert [len(load_data(str(tmp_path / "two"), split)) for split in ("train", "test")] == [6, 4]
    datasets.DatasetDict({"a": pictures(6), "b": pictures(4)}).save_to_disk(tmp_path / "other")
    with pytest.raises(InputError, match="expected a split named train, got a, b"):
        load_data(str(tmp_path / "other"))


def test_arrays_are_events_and_texts_are_labels(tmp_path):
    latents = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    features = datasets.Features(
        {"latents": datasets.Array2D((2, 3), "float32"), "kind": datasets.Value("string")}
    )
    values = {"latents": latents, "kind": ["b", "a", "b", "a"]}
    datasets.Dataset.from_dict(values, features=features).save_to_disk(tmp_path)
    data = load_data(f"huggingface:path={tmp_path},label=kind,test_fraction=0")
    x, cond = data.batch(torch.tensor([3, 0]))
    assert torch.equal(x, torch.from_numpy(latents[[3, 0]]))
    assert (cond.tolist(), data.class_names, data.is_image) == ([0, 1], ["a", "b"], False)


def test_captions_are_embedded(tmp_path, words):
    captions = [f"thing {row // 2}" for row in range(8)]
    pictures(text=captions).save_to_disk(tmp_path)
    data = load_data(f"hf:path={tmp_path},text=text,encoder=words,test_fraction=0")
    assert data.captions == captions
    cond = data.batch(torch.tensor([4, 5, 0]))[1]
    assert torch.equal(cond[0], cond[1])
    assert not torch.equal(cond[0], cond[2])


def test_a_row_without_a_label_is_named(tmp_path):
    pictures(labels=[0, None, 0, 1, 0, 1, 0, 1]).save_to_disk(tmp_path)
    with pytest.raises(InputError, match="row 1: it has no known label, as 1 of 8 rows"):
        load_data(str(tmp_path), test_fraction=0)
    assert load_data(f"hf:path={tmp_path},label=none").condition.kind == "none"


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    pictures(spoilt=(3,)).save_to_disk(tmp_path / "spoilt")
    data = load_data(str(tmp_path / "spoilt"), test_fraction=0)
    with pytest.raises(InputError, match="spoilt, row 3: cannot be decoded as an image"):
        data.batch(torch.arange(8))
    made = pictures().to_dict()
    made["image"][4] = None
    datasets.Dataset.from_dict(made, features=pictures().features).save_to_disk(tmp_path / "empty")
    with pytest.raises(InputError, match="row 4: it has no image"):
        load_data(str(tmp_path / "empty"), test_fraction=0).batch(torch.arange(8))


@pytest.mark.parametrize("value", [[3.0], [7.0, float("nan")], None])
def test_an_array_that_is_no_event_is_named(value, tmp_path):
    datasets.Dataset.from_dict({"x": [[1.0, 2.0], value, [5.0, 6.0]]}).save_to_disk(tmp_path)
    data = load_data(str(tmp_path), test_fraction=0)
    with pytest.raises(InputError, match="row 1: "):
        data.batch(torch.arange(3))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"event": "imag"}, OptionError, "no column event=imag; did you mean 'image'"),
        ({"label": "label", "text": "text"}, OptionError, "exclude each other"),
        ({"label": "score"}, InputError, "expected whole numbers or texts in column score, got float"),
        ({"event": "label"}, InputError, "expected floating-point numbers, got int64"),
    ],
)
def test_columns_that_do_not_fit_are_refused(options, error, message, tmp_path):
    pictures(text=["a"] * 8, score=[0.5] * 8).save_to_disk(tmp_path)
    with pytest.raises(error, match=message):
        load_data("huggingface", path=str(tmp_path), **options)


def test_other_folders_and_damaged_files_are_named(tmp_path):
    with pytest.raises(InputError, match="cannot be read as a Hugging Face data set"):
        load_data(f"huggingface:path={tmp_path}")
    pictures().save_to_disk(tmp_path / "set")
    file = next((tmp_path / "set").glob("*.arrow"))
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(InputError, match="cannot be read"):
        load_data(str(tmp_path / "set"), test_fraction=0)
    with pytest.raises(DataNotFoundError, match="no folder"):
        load_data(f"huggingface:path={tmp_path / 'absent'}")


def test_the_package_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataNotFoundError, match=r"pip install datasets"):
        load_data(f"huggingface:path={tmp_path}")
