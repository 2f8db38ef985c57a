"""Embedding of labels and embeddings, their null values, and what is refused."""

from __future__ import annotations

import pytest
import torch

from flowprior.conditions import Condition
from flowprior.errors import InputError
from flowprior.models import ConditionEmbedding, TimeConditionEmbedding


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
