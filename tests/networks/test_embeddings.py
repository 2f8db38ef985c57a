"""Embeddings of times, labels, embeddings and series: the formula, null values, and what is refused."""

from __future__ import annotations

import pytest
import torch

from flowprior.conditions import Condition
from flowprior.errors import InputError
from flowprior.models import build_model
from flowprior.networks.embeddings import (
    FEATURES,
    ConditionEmbedding,
    SeriesEmbedding,
    sinusoids,
)


def test_features_follow_the_formula():
    t = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    features = sinusoids(t, 8)
    for i in range(4):
        angle = 1000 * t * 10000 ** (-i / 4)
        torch.testing.assert_close(features[:, i], angle.cos())
        torch.testing.assert_close(features[:, 4 + i], angle.sin())


def test_null_values_are_a_row_of_a_table_the_bias_of_a_map_and_none_without_a_condition():
    labels = ConditionEmbedding(Condition("labels", 4), 8)
    assert torch.equal(labels(torch.tensor([4]))[0], labels.embed.weight[4])
    embeddings = ConditionEmbedding(Condition("embeddings", 3), 8)
    assert torch.equal(embeddings(torch.zeros(2, 3).double())[1], embeddings.embed.bias)
    none = ConditionEmbedding(Condition(), 8)
    assert none(None) is None
    assert list(none.parameters()) == []


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


@pytest.mark.parametrize("length", [1, 5, 24, 72])
def test_series_of_any_length_are_embedded_flat_or_not(length):
    embed = SeriesEmbedding((3, length), 16)
    series = torch.randn(4, 3, length)
    assert embed(series).shape == (4, 16)
    assert torch.equal(embed(series), embed(series.flatten(1)))


def test_every_step_counts_and_those_before_the_last_through_a_bottleneck():
    torch.manual_seed(0)
    embed = SeriesEmbedding((2, 24), 64)
    series = torch.randn(200, 2, 24, requires_grad=True)
    embed(series).sum().backward()
    assert bool((series.grad.abs().sum((0, 1)) > 0).all())
    same_end = series.detach().clone()
    same_end[:, :, -1] = series.detach()[:1, :, -1]
    varied = embed(same_end) - embed(same_end).mean(0)
    assert int((torch.linalg.svdvals(varied) > 1e-3).sum()) == FEATURES


def test_a_network_reads_a_series_as_its_condition():
    condition = Condition.of_shape((3, 12))
    assert condition.is_series
    assert not condition.is_picture
    model = build_model("mlp:width=16,depth=1", torch.Size([2, 6]), condition)
    assert any(isinstance(module, SeriesEmbedding) for module in model.modules())
    assert model(torch.randn(5, 2, 6), torch.rand(5), torch.randn(5, 3, 12)).shape == (5, 2, 6)


@pytest.mark.parametrize(
    "series",
    [*(torch.zeros(5, *shape) for shape in ((3, 11), (12, 3), (4, 9), (35,))), torch.zeros(5, 3, 12).long()],
    ids=lambda series: f"{series.dtype} {list(series.shape)}",
)
def test_another_shape_or_whole_numbers_are_no_series(series):
    embed = ConditionEmbedding(Condition.of_shape((3, 12)), 8)
    with pytest.raises(InputError, match=r"expected a floating-point tensor \[B, 3, 12\]"):
        embed(series)
