"""Ridge regression to caption embeddings: its closed form, the strength's choice, what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.extensions.text.score import fit_caption_ridge


def pairs(count: int = 120, captions: int = 30, noise: float = 0.5) -> tuple[Tensor, Tensor, Tensor]:
    """Four pictures of each caption, whose features follow from its embedding by a fixed map with noise."""
    generator = torch.Generator().manual_seed(3)
    table = torch.randn(captions, 6, generator=generator)
    numbers = torch.arange(count) % captions
    mix = torch.randn(6, 20, generator=generator)
    features = table[numbers] @ mix + noise * torch.randn(count, 20, generator=generator) + 5
    return features, table[numbers], numbers


def test_predictions_are_those_of_the_normal_equations() -> None:
    features, embeddings, numbers = pairs()
    ridge = fit_caption_ridge(features, embeddings, numbers)
    y = embeddings.double() / embeddings.double().norm(dim=1, keepdim=True)
    x, y = features.double() - features.double().mean(0), y - y.mean(0)
    penalty = ridge.strength * x.square().sum(1).mean() * torch.eye(20, dtype=torch.float64)
    expected = x @ torch.linalg.inv(x.T @ x + penalty) @ x.T @ y
    torch.testing.assert_close(ridge.predict(features), expected, rtol=1e-6, atol=1e-8)


def test_new_captions_are_predicted_and_mismatches_are_not() -> None:
    features, embeddings, numbers = pairs(count=400, captions=200)
    ridge = fit_caption_ridge(features[:150], embeddings[:150], numbers[:150])
    for shift, low, high in ((0, 0.8, 1), (1, -0.3, 0.3)):
        true = ridge.centre(embeddings[150:200].roll(shift, 0))
        assert low < torch.cosine_similarity(ridge.predict(features[150:200]), true, dim=1).mean() < high


def test_the_strength_is_chosen_on_captions_that_are_left_out() -> None:
    """Pictures of a caption share its noise: where others of it are learned from, noise looks like truth."""
    features, embeddings, _ = pairs(count=30, noise=10.0)
    rows, each_alone = torch.arange(120) % 30, torch.randperm(120, generator=torch.Generator().manual_seed(0))
    by_caption, by_picture = (
        fit_caption_ridge(features[rows], embeddings[rows], numbers).strength
        for numbers in (rows, each_alone)
    )
    assert by_picture < by_caption


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="two different captions"):
        fit_caption_ridge(torch.zeros(4, 3), torch.ones(4, 2), torch.zeros(4))
