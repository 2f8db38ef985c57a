"""Several captions of a picture: what training draws, what a prior is fitted to, what the cache keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flowprior.conditions import Condition
from flowprior.data import CaptionedPictures, Subset, captions, every_condition
from flowprior.errors import OptionError
from flowprior.streams.batches import CheckedBatches
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
    for chance, text in [(0.0, "a"), (0.33, "a"), (0.34, "b"), (0.66, "b"), (0.67, "c"), (0.9999999, "c")]:
        assert torch.equal(drawn(data, 1, chance), embedding(text))
    assert torch.equal(drawn(data, 0, 0.9), embedding("one"))


def test_every_condition_comes_once_with_its_event(data):
    whole = every_condition(data)
    x, cond = whole.batch(torch.arange(len(whole)))
    assert torch.equal(x[:, 0, 0, 0], torch.tensor([0, 1, 1, 1, 2, 2]) / 127.5 - 1)
    expected = [embedding(text) for texts in CAPTIONS for text in texts]
    assert torch.equal(cond, torch.stack(expected))
    assert whole.condition == data.condition
    assert (whole.text_encoder_identity, whole.is_image) == ("words of 6 numbers", True)


def test_a_prior_is_fitted_to_every_condition(data):
    assert sum(len(x) for x, _ in CheckedBatches(data, "test")) == 6


def test_data_with_one_condition_each_stay_as_they_are(tmp_path):
    alone = CaptionedPictures([paint(tmp_path / "a.png")], [("a",)], WordEncoder())
    assert every_condition(alone) is alone


def test_a_part_of_the_data_keeps_its_captions(data):
    part = Subset(data, torch.tensor([2, 1]), "part")
    assert part.captions == ["d", "a"]
    assert part.condition_counts.tolist() == [2, 3]
    assert torch.equal(drawn(part, 0, 0.9), embedding("e"))
    assert part.text_encoder_identity == "words of 6 numbers"


def test_many_captions_are_read_from_the_cache_for_the_same_captions_and_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(captions, "MANY", 3)
    monkeypatch.setattr(captions, "AT_ONCE", 2)
    monkeypatch.setenv("FLOWPRIOR_CACHE", str(tmp_path))
    texts = ["a", "b", "a", "c", "d"]
    first, again, other, less = WordEncoder(), WordEncoder(), WordEncoder(4), WordEncoder()
    tables = [captions.embed_captions(texts, encoder) for encoder in (first, again)]
    assert [len(call) for call in first.calls] == [2, 2]
    assert again.calls == []
    assert torch.equal(tables[0].table, tables[1].table)
    assert tables[1].rows.tolist() == [0, 1, 0, 2, 3]
    assert captions.embed_captions(texts, other).table.shape == (4, 4)
    captions.embed_captions(texts[:2], less)
    assert less.calls == [["a", "b"]]
    assert len(list(tmp_path.iterdir())) == 2, "few captions leave no file"


def test_an_encoder_of_this_process_alone_has_no_spec():
    embedded = captions.embed_captions(["a"], WordEncoder())
    assert (embedded.encoder, embedded.identity) == (None, "words of 6 numbers")
    with pytest.raises(OptionError, match="expected a name, a spec or a Encoder, got int"):
        captions.embed_captions(["a"], 3)


def test_the_empty_caption_is_the_null_condition(monkeypatch, tmp_path):
    monkeypatch.setattr(captions, "MANY", 3)
    monkeypatch.setenv("FLOWPRIOR_CACHE", str(tmp_path))
    assert WordEncoder().encode([""]).pooled.abs().min() > 0
    for texts in (["a", ""], ["a", "", "b"], ["a", "", "b"]):
        found = captions.embed_captions(texts, WordEncoder())
        condition = Condition.of(found.table)
        assert torch.equal(found.table[found.rows[[1]]], condition.null(found.table[[0]]))
        assert torch.equal(found.table[found.rows[0]], embedding("a"))
    blank = captions.embed_captions(["a", "  \n"], WordEncoder())
    assert torch.equal(blank.table[blank.rows[1]], torch.zeros(6)), "as flows take it"
