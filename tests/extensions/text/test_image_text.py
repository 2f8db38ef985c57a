"""Folders of pictures and texts: metadata.jsonl, .txt beside each picture, one caption or several."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from flowprior.data import Subset, load_data
from flowprior.errors import InputError, OptionError
from flowprior.extensions.text.image_text import CaptionedPictures
from flowprior.streams.batches import CheckedBatches
from flowprior.streams.data import every_condition
from tests.data_folders import write_metadata, write_texts
from tests.extensions.conftest import refused
from tests.pictures_on_disk import damage, paint
from tests.words import WordEncoder

CAPTIONS = ["a red cat", "a blue dog", "", "ein grüner Vogel", "一只黑猫", "a red cat", "سمكة", "x " * 5000]


def load(folder: Path, split: str = "train", **options: object) -> CaptionedPictures:
    given = {"encoder": WordEncoder(), "test_fraction": 0} | options
    return load_data(f"image-text:path={folder}", split, **given)


@pytest.mark.parametrize("write", [write_metadata, write_texts])
def test_captions_belong_to_their_pictures(write, tmp_path):
    data = load(write(tmp_path, CAPTIONS))
    assert data.captions == [" ".join(caption.split()) for caption in CAPTIONS]
    assert data.condition.describe() == "floating-point embeddings [B, 6]"
    x, cond = data.batch(torch.tensor([7, 1]))
    torch.testing.assert_close(x[:, 0, 0, 0], torch.tensor([7.0, 1.0]) / 127.5 - 1)
    assert torch.equal(cond, WordEncoder().encode([CAPTIONS[7], CAPTIONS[1]]).pooled)
    assert data.condition_counts is None


def test_the_data_say_which_encoder_made_their_conditions(tmp_path, words):
    data = load(write_metadata(tmp_path, CAPTIONS), encoder="words:size=4")
    assert (data.text_encoder, data.text_encoder_identity) == ("words:size=4", "words of 4 numbers")
    bare = load(tmp_path, encoder=None)
    assert (bare.text_encoder, bare.condition.kind) == (None, "none")
    assert bare.batch(torch.arange(2))[1] is None
    with refused("unknown encoder 'word'; did you mean 'words'"):
        load(tmp_path, encoder="word")


def test_every_different_caption_is_encoded_once(tmp_path):
    encoder = WordEncoder()
    load(write_metadata(tmp_path, CAPTIONS), encoder=encoder)
    (texts,) = encoder.calls
    assert sorted(texts) == sorted({" ".join(caption.split()) for caption in CAPTIONS})


@pytest.mark.parametrize("seed", range(3))
def test_pictures_of_one_caption_are_on_one_side(seed, tmp_path):
    write_metadata(tmp_path, [f"caption {index % 10}" for index in range(30)])
    sides = [load(tmp_path, split, test_fraction=0.3, seed=seed) for split in ("train", "test")]
    assert not set(sides[0].captions) & set(sides[1].captions)
    assert [len(side) for side in sides] == [21, 9]
    assert not set(sides[0].files) & set(sides[1].files)


@pytest.mark.parametrize("held_out", ["test", "val", "validation"])
def test_own_splits_are_used(held_out, tmp_path):
    write_metadata(tmp_path / "train", ["a", "b", "c"])
    write_metadata(tmp_path / held_out, ["d"])
    assert load(tmp_path).captions == ["a", "b", "c"]
    assert load(tmp_path, "test").captions == ["d"]


def test_pictures_may_lie_in_sub_folders_and_the_captions_in_another_column(tmp_path):
    paint(tmp_path / "deep" / "a.jpg")
    metadata = tmp_path / "metadata.jsonl"
    metadata.write_text('\n{"file_name": "deep/a.jpg", "prompt": ["deep", "low"]}\n\n')
    data = load(tmp_path, column="prompt")
    assert (data.captions, data.condition_counts.tolist()) == (["deep"], [2])
    metadata.unlink()
    (tmp_path / "deep" / "a.txt").write_text("two\r\nlines  of text\n", encoding="utf-8-sig")
    assert load(tmp_path).captions == ["two lines of text"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"file_name": "gone.png", "text": "a"}',
            r"line 2: caption without its image, there is no gone\.png",
        ),
        ('{"file_name": "000.png", "text": "a"}', "line 2: 000.png has a caption already"),
        ('{"file_name": "001.png"}', "line 2: no caption 'text'; known: file_name; pass column="),
        ('{"file_name": "001.png", "text": null}', "line 2: expected a text as caption, got NoneType"),
        ('{"file_name": "001.png", "text": ["a", 3]}', "line 2: expected a text as caption, got int"),
        ('{"file_name": "001.png", "text": []}', "line 2: .* got an empty list"),
        ('{"text": "a"}', "line 2: expected the name of an image as file_name, got None"),
        ('{"file_name": "../001.png", "text": "a"}', "line 2: expected an image below"),
        ('{"file_name": "/etc/001.png", "text": "a"}', "line 2: expected an image below"),
        ('["001.png", "a"]', "line 2: expected an object as JSON, got"),
        ('{"file_name": "001.png", "text": "a"', "line 2: expected an object as JSON, got '{"),
        ("[" * 100_000, "line 2: expected an object as JSON"),
        ('{"file_name": "' + "x" * 300 + '.png", "text": "a"}', "line 2: caption without its image"),
    ],
)
def test_a_wrong_line_of_metadata_is_named(line, message, tmp_path):
    write_metadata(tmp_path, ["fine"])
    paint(tmp_path / "001.png")
    metadata = tmp_path / "metadata.jsonl"
    metadata.write_text(metadata.read_text() + line)
    with refused(message, InputError):
        load(tmp_path)


def written(*names: str, content: bytes = b"one") -> Callable[[Path], object]:
    """Write files into a folder."""
    return lambda folder: [(folder / name).write_bytes(content) for name in names]


def painted(*names: str) -> Callable[[Path], object]:
    """Paint pictures into a folder."""
    return lambda folder: [paint(folder / name) for name in names]


BROKEN: list[tuple[Callable[[Path], object], str]] = [
    (shutil.rmtree, "no folder"),
    (lambda folder: (folder / "000.png").unlink(), "image-text: no images in"),
    (painted(*(f"{name}.png" for name in "abcde")), r"5 images \(a.png, b.png, c.png, …\) have no caption"),
    (painted("e.png"), r"1 image \(e.png\) has no caption: there is no .txt of the same name"),
    (
        lambda folder: painted("e.png")(write_metadata(folder, ["fine"])),
        r"1 image \(e.png\) has no caption: metadata.jsonl has no line",
    ),
    (painted("000.jpg"), r"000\.jpg and 000\.png would share a caption; rename one"),
    (written("README.txt"), r"1 text \(README.txt\) has no image of the same name"),
    (written("000.txt", content=b"\xff\xfe"), "000.txt: expected text in UTF-8, got another .* byte 0"),
    (written("000.txt", content=b"x" * 100_001), "000.txt: expected a caption of at most 100,000"),
    (written("000.txt", content=b"x" * 1_000_000), r"000.txt: cannot be read \(expected at most 400,"),
    (lambda folder: damage(folder / "000.png"), "000.png: cannot be decoded as an image"),
    (
        lambda folder: list(map(damage, write_texts(folder, list("abcde")).glob("00[0-3].png"))),
        "4 of 5 images cannot be used, such as 000.png, 001.png, 002.png; ",
    ),
]


@pytest.mark.parametrize(("break_it", "message"), BROKEN)
def test_folders_that_cannot_be_used_are_refused_in_one_line(break_it, message, tmp_path):
    break_it(write_texts(tmp_path / "folder", ["fine"]))
    with refused(message):
        load(tmp_path / "folder")


def test_options_that_are_not_possible(tmp_path):
    write_texts(tmp_path, ["fine"])
    with refused("path is missing", OptionError):
        load_data("image-text")
    with refused("image-text: channels=2 is not possible", OptionError):
        load(tmp_path, channels=2)
    with refused("the test split of 1 data samples is empty"):
        load(tmp_path, "test", test_fraction=0.2)


# -- several captions of an image -----------------------------------------------------------------


SEVERAL = [("one",), ("a", "b", "c"), ("d", "e")]


@pytest.fixture
def several(tmp_path: Path) -> CaptionedPictures:
    files = [paint(tmp_path / f"{index}.png", (index, 0, 0)) for index in range(3)]
    return CaptionedPictures(files, SEVERAL, WordEncoder())


def condition_drawn(several, index: int, chance: float) -> torch.Tensor:
    return several.training_condition(torch.tensor([index]), None, torch.tensor([chance]))[0]


def embedding(text: str) -> torch.Tensor:
    return WordEncoder().encode([text]).pooled[0]


def test_evaluation_gets_the_first_caption_and_training_the_one_that_chance_stands_for(several):
    assert several.captions == ["one", "a", "d"]
    assert torch.equal(several.batch(torch.tensor([1]))[1][0], embedding("a"))
    assert torch.equal(condition_drawn(several, 0, 0.9), embedding("one"))
    for chance, text in [(0.0, "a"), (0.33, "a"), (0.34, "b"), (0.66, "b"), (0.67, "c"), (0.9999999, "c")]:
        assert torch.equal(condition_drawn(several, 1, chance), embedding(text))


def test_every_condition_comes_once_with_its_event(several):
    whole = every_condition(several)
    x, cond = whole.batch(torch.arange(len(whole)))
    assert torch.equal(x[:, 0, 0, 0], torch.tensor([0, 1, 1, 1, 2, 2]) / 127.5 - 1)
    expected = [embedding(text) for texts in SEVERAL for text in texts]
    assert torch.equal(cond, torch.stack(expected))
    assert sum(len(x) for x, _ in CheckedBatches(several, "test")) == 6, "a prior is fitted to them"
    assert whole.condition == several.condition
    assert (whole.text_encoder_identity, whole.is_image) == ("words of 6 numbers", True)


def test_a_part_of_the_data_keeps_its_captions(several):
    part = Subset(several, torch.tensor([2, 1]), "part")
    assert part.captions == ["d", "a"]
    assert part.condition_counts.tolist() == [2, 3]
    assert torch.equal(condition_drawn(part, 0, 0.9), embedding("e"))
    assert part.text_encoder_identity == "words of 6 numbers"
