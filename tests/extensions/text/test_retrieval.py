"""Ranks of a picture's own caption, by hand; the different captions of a data set, in a fixed order."""

from __future__ import annotations

import pytest
import torch

from flowprior.data import TensorData
from flowprior.extensions.text.score import DistinctCaptions, caption_ranks, embedded_captions, texts_of

OTHERS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])


@pytest.mark.parametrize(
    ("images", "own", "numbers", "ranks"),
    [
        ([[2.0, 0.1], [0.9, 1.0], [1.0, 0.9]], OTHERS[[0, 0, 2]], [0, 0, 2], [0, 1, 2]),
        ([[-1.0, -0.5]], torch.tensor([[0.0, -1.0]]), [7], [0]),
        ([[-1.0, -0.5]], torch.tensor([[0.0, -1.0]]), [0], [1]),
        ([[0.0, 0.0]] * 3, OTHERS, [0, 1, 2], [2, 2, 2]),
    ],
    ids=["nearer", "none of the others, in the last's place", "in the first's place", "all alike"],
)
def test_the_rank_counts_the_captions_that_are_nearer(images, own, numbers, ranks) -> None:
    assert caption_ranks(torch.tensor(images), own, torch.tensor(numbers), OTHERS).tolist() == ranks


def test_different_captions_keep_their_order_whatever_the_order_of_events() -> None:
    captions = ["cat", "dog", "cat", "a 猫", ""]
    data = TensorData(torch.zeros(5, 1))
    one, other = DistinctCaptions(data, captions), DistinctCaptions(data, captions[::-1])
    for found, texts in ((one, captions), (other, captions[::-1])):
        assert [texts[found.first[number]] for number in found.numbers] == texts
        assert [texts[place] for place in found.first] == [captions[place] for place in one.first]
    assert (len(one), one.first.tolist().count(0)) == (4, 1), "the first event of a caption stands for it"
    assert one.digest != other.digest
    data = TensorData(torch.zeros(3, 1), torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]]))
    found = DistinctCaptions(data, embedded_captions(data, torch.arange(3)))
    assert found.numbers[0] == found.numbers[2] != found.numbers[1], "embeddings differ by their numbers"


def test_texts_are_captions_or_the_names_of_classes() -> None:
    x, labels = torch.zeros(3, 3, 2, 2), torch.tensor([1, 0, 1])
    data = TensorData(x, labels, class_names=["boat", "ship"])
    assert texts_of(data) == ["a photo of a ship", "a photo of a boat", "a photo of a ship"]
    data.captions = ["a", "b", "c"]
    assert texts_of(data) == ["a", "b", "c"]
    assert texts_of(TensorData(x, labels)) is None
    assert texts_of(TensorData(x)) is None


def test_captions_that_are_equally_near_count_as_nearer_whatever_is_rounded() -> None:
    """Fifty equal captions, and pictures for which the cosine is rounded in every way."""
    generator = torch.Generator().manual_seed(0)
    others = torch.randn(384, generator=generator).expand(50, -1)
    images = torch.randn(200, 384, generator=generator)
    numbers = torch.arange(200) % 50
    assert caption_ranks(images, others[numbers], numbers, others).tolist() == [49] * 200
