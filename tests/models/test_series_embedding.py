"""Embedding of a series: the last step counts by itself, the ones before through four numbers."""

from __future__ import annotations

import pytest
import torch

from flowprior.conditions import Condition
from flowprior.errors import InputError
from flowprior.models import build_model
from flowprior.models.embeddings import FEATURES, ConditionEmbedding, SeriesEmbedding


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


@pytest.mark.parametrize("shape", [(3, 11), (12, 3), (4, 9), (35,)])
def test_a_series_of_another_shape_is_refused(shape):
    embed = ConditionEmbedding(Condition.of_shape((3, 12)), 8)
    with pytest.raises(InputError, match=r"expected a floating-point tensor \[B, 3, 12\]"):
        embed(torch.randn(5, *shape))


def test_whole_numbers_are_no_series():
    embed = ConditionEmbedding(Condition.of_shape((3, 12)), 8)
    with pytest.raises(InputError, match="expected a floating-point tensor"):
        embed(torch.zeros(5, 3, 12, dtype=torch.long))
