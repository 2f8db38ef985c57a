"""Time embedding: the formula, and that neighbouring times can be told apart."""

from __future__ import annotations

import math

import torch

from flowprior.models import TimeEmbedding, sinusoids


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
