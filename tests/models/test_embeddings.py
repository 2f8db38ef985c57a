"""Embeddings of times, labels and embeddings: the formula, null values, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

from flowprior.conditions import Condition
from flowprior.errors import InputError
from flowprior.models import ConditionEmbedding, TimeConditionEmbedding, TimeEmbedding, sinusoids


def test_features_follow_the_formula():
    t = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    features = sinusoids(t, 8)
    for i in range(4):
        angle = 1000 * t * 10000 ** (-i / 4)
        torch.testing.assert_close(features[:, i], angle.cos())
        torch.testing.assert_close(features[:, 4 + i], angle.sin())


def test_time_zero_is_ones_and_zeros():
    assert torch.equal(sinusoids(torch.zeros(1), 6), torch.tensor([[1.0, 1, 1, 0, 0, 0]]))


def test_scaling_spreads_the_unit_interval_over_the_frequencies():
    """Over [0, 1] most features go round at least once; with unscaled times none would."""
    t = torch.linspace(0, 1, 4001, dtype=torch.float64)
    turns = sinusoids(t, 64)[:, :32].std(dim=0) > 0.5
    assert turns.sum() > 20
    unscaled = torch.cos(t[:, None] * 10000 ** (-torch.arange(32) / 32))
    assert not (unscaled.std(dim=0) > 0.5).any()


def test_nearby_times_differ_more_the_further_they_are():
    t = torch.tensor([0.5, 0.5001, 0.51])
    features = sinusoids(t, 128)
    near, far = (features[0] - features[1]).norm(), (features[0] - features[2]).norm()
    assert 0.01 < near < far < math.sqrt(4 * 64)


def test_embedding_follows_the_dtype_of_its_weights():
    assert TimeEmbedding(16)(torch.rand(3)).shape == (3, 16)
    assert TimeEmbedding(16).double()(torch.rand(3)).dtype == torch.float64


def test_label_table_has_a_row_for_the_null_label():
    embedding = ConditionEmbedding(Condition("labels", 4), 8)
    assert embedding.embed.weight.shape == (5, 8)
    assert torch.equal(embedding(torch.tensor([4]))[0], embedding.embed.weight[4])


def test_null_embedding_becomes_the_bias():
    embedding = ConditionEmbedding(Condition("embeddings", 3), 8)
    assert torch.equal(embedding(torch.zeros(2, 3))[1], embedding.embed.bias)


def test_embeddings_of_another_precision_are_taken():
    embedding = ConditionEmbedding(Condition("embeddings", 3), 8)
    assert embedding(torch.randn(2, 3, dtype=torch.float64)).dtype == torch.float32


def test_without_a_condition_there_is_nothing_to_learn():
    embedding = ConditionEmbedding(Condition(), 8)
    assert embedding(None) is None
    assert list(embedding.parameters()) == []


@pytest.mark.parametrize(
    ("condition", "cond"),
    [
        (Condition("labels", 4), None),
        (Condition("labels", 4), torch.randn(2, 4)),
        (Condition("labels", 4), torch.zeros(2, 1, dtype=torch.long)),
        (Condition("embeddings", 3), None),
        (Condition("embeddings", 3), torch.tensor([0, 1])),
        (Condition("embeddings", 3), torch.randn(2, 4)),
    ],
)
def test_conditions_of_another_kind_are_refused(condition, cond):
    with pytest.raises(InputError, match="model: expected"):
        ConditionEmbedding(condition, 8)(cond)


def test_time_and_condition_are_added():
    both = TimeConditionEmbedding(Condition("labels", 4), 8)
    t, cond = torch.rand(3), torch.tensor([0, 1, 4])
    torch.testing.assert_close(both(t, cond), both.time(t) + both.condition(cond))
