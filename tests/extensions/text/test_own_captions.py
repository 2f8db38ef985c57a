"""The recipe of docs/own-captions.md, as it is written, on a folder of ten pictures and in a few steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from flowprior.data import load_data
from flowprior.extensions.text.image_text import CaptionedPictures
from tests.cli.conftest import SHORT, call_app
from tests.data_folders import write_metadata, write_texts
from tests.expected_warnings import FEW_REFERENCES
from tests.extensions.text.conftest import in_place_of_minilm
from tests.markdown_blocks import REPOSITORY, commands
from tests.words import WordEncoder

PAGE = REPOSITORY / "docs" / "own-captions.md"
CAPTIONS = [
    f"a {colour} {animal}" for colour in ("red", "blue") for animal in ("fox", "owl", "cat", "bee", "ox")
]


@pytest.fixture
def without_weights() -> Iterator[None]:
    with in_place_of_minilm(WordEncoder):
        yield


def short(words: list[str]) -> list[str]:
    """A command of the page with two steps and a small network."""
    if words[1] != "train":
        return words[1:]
    steps = words.index("--steps")
    return [*words[1:steps], *words[steps + 2 :], "--steps", "2", "--model", "unet:widths=8-16", *SHORT]


@FEW_REFERENCES
@pytest.mark.slow
@pytest.mark.parametrize("write", [write_texts, write_metadata])
@pytest.mark.usefixtures("without_weights")
def test_five_commands_lead_from_a_folder_to_a_picture(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "my-pictures", CAPTIONS)
    found = commands(PAGE)
    assert len(found) == 5
    for words in found:
        if words[0] == "flowprior":
            answer = call_app(*short(words))
            assert answer.code == 0, answer.err
    for name, caption in {"sheet.png": "a red fox in the snow", "owl.png": "an owl in the snow"}.items():
        with Image.open(name) as picture:
            assert picture.text["caption"] == caption


def test_a_folder_with_texts_is_known_by_them(tmp_path: Path, without_weights: None):
    data = load_data(str(write_texts(tmp_path, CAPTIONS)))
    assert isinstance(data, CaptionedPictures)
    assert data.text_encoder == "minilm"
    assert len(data) == 9
