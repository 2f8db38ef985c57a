"""COCO's own files, small and written by the test, malformed ones included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior.data import load_data
from flowprior.errors import DataNotFoundError, InputError, OptionError
from flowprior.extensions.text.image_text import CaptionedPictures
from tests.data_folders import write_captions, write_coco
from tests.pictures_on_disk import damage
from tests.words import WordEncoder


def content(root: Path) -> dict[str, Any]:
    return json.loads((root / "annotations" / "captions_train2017.json").read_text())


def load(root: Path, split: str = "train", **options: Any) -> CaptionedPictures:
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


def test_where_it_is_not_there_one_line_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.delenv("FLOWPRIOR_DATA", raising=False)
    archives = "annotations_trainval2017.zip, train2017.zip and val2017.zip of cocodataset.org"
    with pytest.raises(DataNotFoundError, match=f"coco: path is missing; unpack {archives} in one folder"):
        load_data("coco")
    with pytest.raises(
        DataNotFoundError, match=rf"no .*captions_train2017.json; unpack {archives} in {tmp_path}"
    ):
        load(tmp_path)
    write_coco(tmp_path)
    (tmp_path / "train2017").rename(tmp_path / "elsewhere")
    with pytest.raises(DataNotFoundError, match=r"no .*train2017; unpack"):
        load(tmp_path)
    with pytest.raises(OptionError, match="coco: size=0 is not possible"):
        load_data(f"coco:path={tmp_path},size=0")


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ([1, 2], "expected COCO's captions"),
        ({}, r"got another file \(KeyError: 'images'\)"),
        ({"images": [], "annotations": []}, "expected names of files in its images, got 'none'"),
        ({"images": [1], "annotations": [1]}, r"got another file \(TypeError"),
        ({"images": [{"id": 7, "file_name": "../a.jpg"}], "annotations": []}, r"got '\.\./a\.jpg'"),
        (
            {"images": [{"id": 7, "file_name": "a.jpg"}], "annotations": [{"image_id": 7, "bbox": []}]},
            r"got another file \(KeyError: 'caption'\); pass COCO's captions_",
        ),
    ],
)
def test_json_that_is_no_coco_file_is_refused(stored, message, tmp_path):
    write_coco(tmp_path)
    write_captions(tmp_path, stored)
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\udcff"])
def test_what_is_no_json_is_refused(text, tmp_path):
    file = write_captions(write_coco(tmp_path), {})
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"captions_train2017.json: expected COCO's captions"):
        load(tmp_path)


def test_pictures_and_captions_belong_together(tmp_path):
    stored = content(write_coco(tmp_path))
    lonely = [entry for entry in stored["annotations"] if entry["image_id"] != 93]
    write_captions(tmp_path, stored | {"annotations": lonely})
    with pytest.raises(InputError, match=r"1 image \(000000000093.jpg\) has no caption"):
        load(tmp_path)
    write_captions(
        tmp_path, stored | {"annotations": [*stored["annotations"], {"image_id": 5, "caption": "lost"}]}
    )
    with pytest.raises(InputError, match="caption without its image, no image has the number 5"):
        load(tmp_path)


def test_missing_and_unreadable_pictures_are_counted_and_named(tmp_path):
    write_coco(tmp_path)
    for number in (79, 100):
        damage(tmp_path / "train2017" / f"{number:012}.jpg")
    with pytest.raises(
        InputError, match=r"2 of 4 images cannot be used, such as 000000000079.jpg, 000000000100"
    ):
        load(tmp_path)
    for number in (79, 100):
        (tmp_path / "train2017" / f"{number:012}.jpg").unlink()
    with pytest.raises(InputError, match=r"2 images \(000000000079.jpg, 000000000100.jpg\) have no file in"):
        load(tmp_path)
