"""A problem whose conditions are embeddings, and the distance within conditions."""

from __future__ import annotations

import pytest
import torch

from benchmarks.studies import embeddings
from flowprior.data import load_data


def test_residuals_turn_about_a_mean_of_their_own_and_have_two_modes(generator):
    cond = torch.tensor(
        [[1.0, -0.5, 0.3, 0.0, 2.0, -1.0, 0.4, 0.1], [-1.0, 0.5, 1.3, 0.7, -2.0, 1.0, 0.0, 0.2]]
    )
    covariances = []
    for row in cond:
        residual = embeddings.residuals_of(row.expand(20_000, -1), generator)
        assert residual.mean(0).abs().max() < 0.06
        covariance = residual.T.cov()
        covariances.append(covariance)
        direction = torch.linalg.eigh(covariance).eigenvectors[:, -1]
        along = residual @ direction
        assert ((along / along.std()).abs() < 0.3).double().mean() < 0.1, "hardly anything between the modes"
    turned = (covariances[0] - covariances[1]).norm() / covariances[0].norm()
    assert turned > 0.3
    middle = embeddings.mean_of(cond.mean(0, keepdim=True))[0]
    assert (middle - embeddings.mean_of(cond).mean(0)).norm() > 0.3, "the mean is not linear"


def test_no_embedding_of_the_test_split_was_seen_in_training():
    train, test = load_data("turning-residuals:n=300"), load_data("turning-residuals", "test")
    assert len(train) == 300
    assert train.cond.unique(dim=0).shape == (300, embeddings.WIDTH)
    assert test.cond.unique(dim=0).shape == (embeddings.CONDITIONS, embeddings.WIDTH)
    assert test.group.bincount().tolist() == [embeddings.OF_EACH] * embeddings.CONDITIONS
    assert not torch.isin(test.cond[:, 0], train.cond[:, 0]).any()
    again = load_data("turning-residuals:n=300")
    assert torch.equal(again.x, train.x)


def test_the_distance_does_not_mix_conditions():
    """Two groups that have changed places have the same pooled points."""
    x = torch.cat([torch.zeros(30, 2), torch.full((30, 2), 5.0)])
    group = torch.arange(60) // 30
    same = embeddings.distance((x, group), (x, group))
    swapped = embeddings.distance((x.flip(0), group), (x, group))
    assert same["sliced_w2_squared_within"] == pytest.approx(0, abs=1e-9)
    assert swapped["sliced_w2_squared_within"] == pytest.approx(25, rel=0.1)
