"""Several captions of a picture: what training draws, and what a prior is fitted to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flowprior.data import Subset
from flowprior.extensions.text.image_text import CaptionedPictures
from flowprior.streams.batches import CheckedBatches
from flowprior.streams.data import every_condition
from tests.pictures_on_disk import paint
from tests.words import WordEncoder

CAPTIONS = [("one",), ("a", "b", "c"), ("d", "e")]


@pytest.fixture
def data(tmp_path: Path) -> CaptionedPictures:
    files = [paint(tmp_path / f"{index}.png", (index, 0, 0)) for index in range(3)]
    return CaptionedPictures(files, CAPTIONS, WordEncoder())


def drawn(data, index: int, chance: float) -> torch.Tensor:
    return data.training_condition(torch.tensor([index]), None, torch.tensor([chance]))[0]


def embedding(text: str) -> torch.Tensor:
    return WordEncoder().encode([text]).pooled[0]


def test_evaluation_gets_the_first_caption_and_training_the_one_that_chance_stands_for(data):
    assert data.captions == ["one", "a", "d"]
    assert torch.equal(data.batch(torch.tensor([1]))[1][0], embedding("a"))
    assert torch.equal(drawn(data, 0, 0.9), embedding("one"))
    for chance, text in [(0.0, "a"), (0.33, "a"), (0.34, "b"), (0.66, "b"), (0.67, "c"), (0.9999999, "c")]:
        assert torch.equal(drawn(data, 1, chance), embedding(text))


def test_every_condition_comes_once_with_its_event(data):
    whole = every_condition(data)
    x, cond = whole.batch(torch.arange(len(whole)))
    assert torch.equal(x[:, 0, 0, 0], torch.tensor([0, 1, 1, 1, 2, 2]) / 127.5 - 1)
    expected = [embedding(text) for texts in CAPTIONS for text in texts]
    assert torch.equal(cond, torch.stack(expected))
    assert sum(len(x) for x, _ in CheckedBatches(data, "test")) == 6, "a prior is fitted to them"
    assert whole.condition == data.condition
    assert (whole.text_encoder_identity, whole.is_image) == ("words of 6 numbers", True)


def test_a_part_of_the_data_keeps_its_captions(data):
    part = Subset(data, torch.tensor([2, 1]), "part")
    assert part.captions == ["d", "a"]
    assert part.condition_counts.tolist() == [2, 3]
    assert torch.equal(drawn(part, 0, 0.9), embedding("e"))
    assert part.text_encoder_identity == "words of 6 numbers"
