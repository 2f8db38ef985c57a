"""Which data set a path stands for."""

from __future__ import annotations

import pytest

from flowprior.data.locations import data_set_of_path


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
        (["metadata.jsonl"], "image-text"),
        (["train/metadata.jsonl", "test/metadata.jsonl"], "image-text"),
        (["a.png", "a.txt"], "image-text"),
        (["train/a.JPG", "train/b.jpeg", "train/b.txt"], "image-text"),
        (["a.png", "notes.txt"], "folder"),
        (["cats/a.png", "cats/notes.txt", "cats/metadata.jsonl"], "folder"),
        (["annotations/captions_val2017.json", "a.png", "a.txt"], "coco"),
        (["annotations/instances_val2017.json"], "folder"),
        (["train_data_batch_1.npz"], "imagenet64"),
        (["val_data.npz"], "imagenet64"),
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


def test_existing_folders_are_pictures(tmp_path):
    assert data_set_of_path(str(tmp_path)) == "folder"
    assert data_set_of_path(str(tmp_path / "absent")) is None
