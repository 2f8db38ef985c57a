"""Splits: disjoint, complete, stratified, balanced by label; images that share captions stay together."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowprior.conditions import Condition
from flowprior.data import TensorData, captions
from flowprior.data.captions import caption_groups, split_by_caption
from flowprior.data.splits import draw_indices, split_indices
from flowprior.errors import InputError, OptionError
from tests.words import WordEncoder


@given(count=st.integers(10, 200), fraction=st.floats(0.1, 0.9), seed=st.integers(0, 5))
def test_parts_are_disjoint_complete_sorted_and_decided_by_the_seed(count, fraction, seed):
    parts = [split_indices(count, part, test_fraction=fraction, seed=seed) for part in ("train", "test")]
    assert sorted(torch.cat(parts).tolist()) == list(range(count))
    assert torch.equal(parts[1], parts[1].sort().values)
    assert len(parts[1]) == round(fraction * count)
    assert torch.equal(parts[1], split_indices(count, "test", test_fraction=fraction, seed=seed))


def test_each_class_is_divided_on_its_own_and_a_single_example_stays_in_training():
    labels = torch.tensor([0] * 100 + [1] * 40 + [2])
    test = split_indices(141, "test", test_fraction=0.2, labels=labels)
    assert torch.bincount(labels[test], minlength=3).tolist() == [20, 8, 0]
    other = split_indices(141, "test", test_fraction=0.2, labels=labels, seed=1)
    assert not torch.equal(test, other)


def test_fraction_zero_uses_everything_twice_and_an_empty_part_is_refused():
    for part in ("train", "test"):
        assert split_indices(7, part, test_fraction=0).tolist() == list(range(7))
    with pytest.raises(InputError, match="test split of 3 data samples is empty"):
        split_indices(3, "test", test_fraction=0.1)


@pytest.mark.parametrize("count", [10, 70, 100, 250])
def test_every_label_gets_its_share_to_within_one_and_no_example_comes_twice_too_soon(generator, count):
    counts = torch.tensor([60, 30, 9, 1])
    labels = torch.arange(4).repeat_interleave(counts)[torch.randperm(100, generator=generator)]
    data = TensorData(torch.zeros(100, 1), labels)
    drawn = draw_indices(data, count, generator)
    assert len(drawn) == count
    assert len(drawn.unique()) == min(count, 100)
    found = torch.bincount(labels[drawn], minlength=4)
    assert bool(((found - count * counts / 100).abs() < 1 + 1e-9).all())


def test_the_order_is_random_and_unlabelled_data_are_drawn_too(generator):
    for cond in (torch.arange(50) % 5, torch.randn(50, 3, generator=generator)):
        data = TensorData(torch.zeros(50, 1), cond)
        first, again, other = (
            draw_indices(data, 25, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert not torch.equal(first, first.sort().values)


# -- groups of images that share captions ---------------------------------------------------------


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
