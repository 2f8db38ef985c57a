"""Groups of pictures that share captions, also by way of others; embeddings of captions, once each."""

from __future__ import annotations

import pytest
import torch

from flowprior.conditions import Condition
from flowprior.data import captions
from flowprior.data.captions import caption_groups, split_by_caption
from flowprior.errors import OptionError
from tests.words import WordEncoder


def test_equal_captions_are_one_group_whatever_their_case_and_white_space():
    groups = caption_groups([("A  cat",), ("a cat ",), ("a dog",), ("ﬁsh",), ("FISH",)]).tolist()
    assert groups[0] == groups[1] != groups[2]
    assert groups[3] == groups[4]
    assert len(set(groups)) == 3


def test_a_chain_of_shared_captions_joins_pictures():
    groups = caption_groups([("a", "b"), ("c",), ("b", "d"), ("d",), ("e",)]).tolist()
    assert groups[0] == groups[2] == groups[3]
    assert len({groups[0], groups[1], groups[4]}) == 3


def test_parts_are_disjoint_and_cover_everything():
    texts = [(f"caption {index % 7}",) for index in range(40)]
    train, test = (split_by_caption(texts, split, test_fraction=0.3, seed=2) for split in ("train", "test"))
    assert torch.equal(torch.cat([train, test]).sort().values, torch.arange(40))
    assert not {texts[i] for i in train.tolist()} & {texts[i] for i in test.tolist()}
    assert len(split_by_caption(texts, "test", test_fraction=0)) == 40


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
        assert torch.equal(found.table[found.rows[0]], WordEncoder().encode(["a"]).pooled[0])
    blank = captions.embed_captions(["a", "  \n"], WordEncoder())
    assert torch.equal(blank.table[blank.rows[1]], torch.zeros(6)), "as flows take it"
