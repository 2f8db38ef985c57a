"""Distinct embeddings in bounded memory: the same ones in every order, each with all of its events."""

from __future__ import annotations

import pytest
import torch

from flowprior.priors.nearest import distinct_embeddings, nearest
from tests.priors.captions import captions


def over(x, cond, most, batch):
    return distinct_embeddings(lambda: zip(x.split(batch), cond.split(batch), strict=True), most)


@pytest.mark.parametrize("batch", [7, 64, 500])
def test_they_are_those_of_unique_with_the_means_of_their_events(batch):
    x, cond = captions(60, 1)
    found = over(x, cond, 1000, batch)
    rows, place = cond.unique(dim=0, return_inverse=True)
    means = torch.stack([x[place == i].mean(0) for i in range(60)])
    order = [int((found.rows == row).all(1).nonzero()) for row in rows]
    assert sorted(order) == list(range(60))
    torch.testing.assert_close(found.means[order].float(), means)
    assert found.counts.tolist() == [5] * 60


def test_what_stays_of_too_many_depends_on_no_order_and_misses_no_event():
    x, cond = captions(60, 1)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    first, second = over(x, cond, 20, 16), over(x[order], cond[order], 20, 33)
    assert len(first.rows) == 20
    assert torch.equal(first.rows, second.rows)
    assert first.counts.tolist() == [5] * 20
    torch.testing.assert_close(first.means, second.means)


def test_distances_are_those_of_differences_and_equal_embeddings_are_none_apart():
    _, cond = captions(60, 1, each=1)
    asked = torch.cat([cond[:3] + 0.01, cond[5:6]])
    distance, place = nearest(asked, cond, 4)
    truth = (asked[:, None] - cond).square().sum(2).sqrt().sort(1)
    torch.testing.assert_close(distance, truth.values[:, :4])
    assert torch.equal(place, truth.indices[:, :4])
    assert distance[3, 0] == 0
    assert nearest(asked, cond[:2], 9)[0].shape == (4, 2)


def test_far_from_the_origin_the_nearest_are_found_all_the_same():
    near = torch.arange(30.0)[:, None]
    for offset in (1e4, 1e5):
        distance, place = nearest(near + offset, near + offset, 2)
        assert place[:, 0].tolist() == list(range(30))
        assert distance[:, 1].tolist() == [1.0] * 30


def test_an_embedding_is_found_among_others_close_by(generator):
    """Four copies of each, as far apart as encodings of one caption; float32 mixes up their products."""
    cond = torch.nn.functional.normalize(torch.randn(100, 384, generator=generator), dim=1)
    rows = cond.repeat(4, 1) + 1e-6 * torch.randn(400, 384, generator=generator)
    distance, place = nearest(rows, rows)
    assert torch.equal(place[:, 0], torch.arange(400))
    assert distance.max() == 0
