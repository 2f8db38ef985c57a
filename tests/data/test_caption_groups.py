"""Groups of pictures that share captions, also by way of others."""

from __future__ import annotations

import torch

from flowprior.data.captions import caption_groups, split_by_caption


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
    captions = [(f"caption {index % 7}",) for index in range(40)]
    train, test = (
        split_by_caption(captions, split, test_fraction=0.3, seed=2) for split in ("train", "test")
    )
    assert torch.equal(torch.cat([train, test]).sort().values, torch.arange(40))
    assert not {captions[i] for i in train.tolist()} & {captions[i] for i in test.tolist()}
    assert len(split_by_caption(captions, "test", test_fraction=0)) == 40
