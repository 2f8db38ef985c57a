"""Data sets by name, spec, path or value; which one a path stands for; batches that can be iterated again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import IterableDataset, Subset, TensorDataset

from flowprior.data import TensorData, load_data
from flowprior.data.base import as_data, data_set_of_path
from flowprior.errors import DataNotFoundError, InputError, OptionError, UnknownComponentError
from flowprior.streams.datasets import DatasetData

X, LABELS = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize("size", [1, 7, 20, 100])
def test_batches_cover_everything_in_order_twice(size):
    x, cond = torch.randn(20, 3), torch.arange(20)
    batches = TensorData(x, cond).batches(size)
    assert len(batches) == -(-20 // size)
    for _ in range(2):
        events, labels = zip(*batches, strict=True)
        assert torch.equal(torch.cat(events), x)
        assert torch.equal(torch.cat(labels), cond)


def test_the_spec_string_carries_options_and_arguments_go_before():
    assert len(load_data("moons:n=50")) == 50
    assert len(load_data("moons:n=50", n=60)) == 60
    test = load_data("moons:split=test,n=50")
    assert torch.equal(test.x, load_data("moons", "test", n=50).x)


def test_a_spec_string_may_end_in_the_path_of_an_option(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.ones((10, 2)))
    assert len(load_data(f"arrays:test_fraction=0,path={tmp_path / 'data.npz'}")) == 10


def test_paths_stand_for_the_data_set_that_reads_them(tmp_path, monkeypatch):
    np.savez(tmp_path / "odd,name=1.npz", x=np.ones((10, 2)))
    assert len(load_data(str(tmp_path / "odd,name=1.npz"), test_fraction=0)) == 10
    (tmp_path / "digits").mkdir()
    Image.new("L", (3, 3)).save(tmp_path / "digits" / "0.png")
    monkeypatch.chdir(tmp_path)
    assert load_data("digits").event_shape == (1, 8, 8)
    assert load_data("./digits", test_fraction=0).event_shape == (3, 3, 3)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("digit", UnknownComponentError, "did you mean 'digits'"),
        (
            "mnist",
            UnknownComponentError,
            "unknown data set 'mnist'; known: ",
        ),  # another one than Fashion-MNIST
        ("photos/2024", DataNotFoundError, "no folder photos/2024"),
        ("digits:size=3", OptionError, "no option 'size'"),
        ("digits:split=trian", OptionError, "split='trian' is not possible; did you mean 'train'"),
        ("moons:seed=-1", OptionError, "moons: seed=-1 is not possible; expected a whole number, from 0 to"),
        (
            "digits:test_fraction=1.5",
            OptionError,
            "test_fraction to be a number from 0 to 1, got 1.5",
        ),
        (
            "folder:path=.,size=0",
            OptionError,
            "folder: size=0 .* a whole number, from 1 to 2,048",
        ),
        ("folder:path=.,channels=2", OptionError, "folder: channels=2 is not possible; choose 1 or 3"),
        ("moons:n=0", OptionError, "moons: n=0 is not possible"),
    ],
)
def test_unknown_names_paths_and_options(spec, error, message):
    with pytest.raises(error, match=message):
        load_data(spec)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.npz", "arrays"),
        ("b.PT", "arrays"),
        ("c.h5ad", "cells"),
        ("e.npy", "latents"),
        ("f.tar", "shards"),
        ("d.csv", None),
        ("moons", None),
    ],
)
def test_files_are_known_by_their_ending(name, expected, tmp_path):
    assert data_set_of_path(name) == expected
    assert data_set_of_path(str(tmp_path / name)) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], "folder"),
        (["metadata.jsonl"], "image-text"),
        (["train/metadata.jsonl", "test/metadata.jsonl"], "image-text"),
        (["a.png", "a.txt"], "image-text"),
        (["train/a.JPG", "train/b.jpeg", "train/b.txt"], "image-text"),
        (["a.png", "notes.txt"], "folder"),
        (["cats/a.png", "cats/notes.txt", "cats/metadata.jsonl"], "folder"),
        (["annotations/captions_val2017.json", "a.png", "a.txt"], "coco"),
        (["annotations/instances_val2017.json"], "folder"),
        (["train/x-001.npy", "test/x-001.npy"], "latents"),
        (["00.tar", "01.tar", "sizes.json"], "shards"),
        (["train/00.tar", "val/00.tar"], "shards"),
        (["backup.tar", "cats/a.png"], "folder"),
        (["backup.tar", "a.png"], "folder"),
        (["latents.npy", "labels.npy"], "latents"),
        (["train/latents-000.npy"], "latents"),
        (["dataset_dict.json", "train/data-00000-of-00001.arrow"], "huggingface"),
        (["data-00000-of-00001.arrow", "state.json"], "huggingface"),
    ],
)
def test_folders_are_known_by_what_lies_in_them(files, expected, tmp_path):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert data_set_of_path(str(tmp_path)) == expected
    assert data_set_of_path(str(tmp_path / "absent")) is None


@pytest.mark.parametrize(
    ("value", "labels"),
    [
        (X, None),
        (X.numpy(), None),
        ((X,), None),
        (TensorDataset(X), None),
        ((X, LABELS), [1, 2]),
        ([X, LABELS], [1, 2]),
        ((X.numpy(), LABELS.numpy()), [1, 2]),
        (TensorDataset(X, LABELS), [1, 2]),
    ],
)
def test_tensors_arrays_and_pairs_of_them_are_data(value, labels):
    data = as_data(value)
    x, cond = data.batch(torch.tensor([4, 2]))
    assert torch.equal(x, X[[4, 2]])
    assert data.condition.kind == ("labels" if labels else "none")
    assert (cond if cond is None else cond.tolist()) == labels


def test_other_datasets_are_read_item_by_item():
    data = as_data(Subset(TensorDataset(X, LABELS), [5, 3]))
    assert isinstance(data, DatasetData)
    assert torch.equal(data.batch(torch.arange(2))[0], X[[5, 3]])


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


@pytest.mark.parametrize("value", [3, None, {"x": X}, (X, LABELS, X, X), [1, 2], Stream()])
def test_anything_else_is_refused(value):
    stream = r"got Stream, a stream, .* write it to \.tar shards"
    expected = stream if isinstance(value, Stream) else "data: expected a data set's name or path"
    with pytest.raises(InputError, match=expected):
        as_data(value)
