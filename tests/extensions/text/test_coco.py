"""COCO's own files, small and written by the test, malformed ones included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from flowprior.data import load_data
from flowprior.errors import DataNotFoundError, InputError
from flowprior.extensions.text.image_text import CaptionedPictures
from tests.data_folders import write_coco
from tests.extensions.conftest import refused
from tests.pictures_on_disk import damage
from tests.words import WordEncoder


def load(root: Path, split: str = "train", **options: object) -> CaptionedPictures:
    return load_data(f"coco:path={root},size=8", split, **{"encoder": WordEncoder(), **options})


@pytest.mark.parametrize(("split", "part"), [("train", "train"), ("test", "val")])
def test_pictures_come_by_number_with_five_captions(split, part, tmp_path):
    data = load(write_coco(tmp_path), split)
    assert data.captions == [f"Caption 0 of {part} {number}." for number in (79, 86, 93, 100)]
    assert data.condition_counts.tolist() == [5] * 4
    x, cond = data.batch(torch.tensor([3, 0]))
    assert x.shape == (2, 3, 8, 8)
    torch.testing.assert_close(x[:, 0, 4, 4], torch.tensor([100, 79]) / 127.5 - 1, atol=0.02, rtol=0)
    assert torch.equal(cond, WordEncoder().encode([data.captions[3], data.captions[0]]).pooled)


def test_it_is_read_as_torchvision_reads_it(tmp_path):
    pytest.importorskip("pycocotools", reason="torchvision's CocoCaptions wants pycocotools")
    from torchvision.datasets import CocoCaptions

    data = load(write_coco(tmp_path))
    expected = CocoCaptions(
        str(tmp_path / "train2017"), str(tmp_path / "annotations" / "captions_train2017.json")
    )
    assert len(expected) == len(data)
    for index in range(len(data)):
        _, captions = expected[index]
        assert data.captions[index] == captions[0].strip()
        for place, text in enumerate(captions):
            drawn = data.training_condition(torch.tensor([index]), None, torch.tensor([(place + 0.5) / 5]))
            assert torch.equal(drawn, WordEncoder().encode([text]).pooled)


def test_other_years_and_folders_and_the_folder_of_data(tmp_path, monkeypatch):
    write_coco(tmp_path / "coco", year=2014)
    (tmp_path / "coco" / "images").mkdir()
    (tmp_path / "coco" / "val2014").rename(tmp_path / "coco" / "images" / "val2014")
    monkeypatch.setenv("FLOWPRIOR_DATA", str(tmp_path))
    assert len(load_data("coco:year=2014,size=8", "test", encoder=None)) == 4


ARCHIVES = "annotations_trainval2017.zip, train2017.zip and val2017.zip of cocodataset.org"


def test_where_it_is_not_there_one_line_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.delenv("FLOWPRIOR_DATA", raising=False)
    with refused(f"coco: path is missing; unpack {ARCHIVES} in one folder", DataNotFoundError):
        load_data("coco")
    with refused(rf"no .*captions_train2017.json; unpack {ARCHIVES} in {tmp_path}", DataNotFoundError):
        load(tmp_path)
    write_coco(tmp_path)
    with refused("coco: size=0 is not possible"):
        load(tmp_path, size=0)
    (tmp_path / "train2017").rename(tmp_path / "elsewhere")
    with refused(r"no .*train2017; unpack", DataNotFoundError):
        load(tmp_path)


IMAGE = {"id": 7, "file_name": "a.jpg"}
NUMBERS = (79, 86, 93, 100)
IMAGES = [{"id": number, "file_name": f"{number:012}.jpg"} for number in NUMBERS]
CAPTIONS = [{"image_id": number, "caption": "one"} for number in NUMBERS]
SPOILT = [f"train2017/{number:012}.jpg" for number in (79, 100)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"captions_train2017.json: expected COCO's captions"),
        (b"{", r"captions_train2017.json: expected COCO's captions"),
        (b"[" * 100_000, r"captions_train2017.json: expected COCO's captions"),
        (b"\xff", r"captions_train2017.json: expected COCO's captions"),
        ([1, 2], "expected COCO's captions"),
        ({}, r"got another file \(KeyError: 'images'\)"),
        ({"images": [], "annotations": []}, "expected names of files in its images, got 'none'"),
        ({"images": [1], "annotations": [1]}, r"got another file \(TypeError"),
        ({"images": [IMAGE | {"file_name": "../a.jpg"}], "annotations": []}, r"got '\.\./a\.jpg'"),
        (
            {"images": [IMAGE], "annotations": [{"image_id": 7, "bbox": []}]},
            r"got another file \(KeyError: 'caption'\); pass COCO's captions_",
        ),
        ({"images": IMAGES, "annotations": CAPTIONS[:3]}, r"1 image \(000000000100.jpg\) has no caption"),
        (
            {"images": IMAGES, "annotations": [*CAPTIONS, {"image_id": 5, "caption": "lost"}]},
            "caption without its image, no image has the number 5",
        ),
    ],
)
def test_files_that_are_none_of_cocos_are_refused(content, message, tmp_path):
    file = write_coco(tmp_path) / "annotations/captions_train2017.json"
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with refused(message, InputError):
        load(tmp_path)


def test_missing_and_unreadable_pictures_are_counted_and_named(tmp_path):
    write_coco(tmp_path)
    for name in SPOILT:
        damage(tmp_path / name)
    with refused(r"2 of 4 images cannot be used, such as 000000000079.jpg, 000000000100"):
        load(tmp_path)
    for name in SPOILT:
        (tmp_path / name).unlink()
    with refused(r"2 images \(000000000079.jpg, 000000000100.jpg\) have no file in"):
        load(tmp_path)
