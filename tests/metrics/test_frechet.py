"""Fréchet distance: closed forms, scipy's square root, streaming, and data it can rank."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from flowprior.errors import InputError
from flowprior.metrics import Metric, frechet_distance
from flowprior.metrics.frechet import feature_moments, frechet_distance_of_rows


def covariance(generator: torch.Generator, size: int, rank: int | None = None) -> torch.Tensor:
    factor = torch.randn(size, rank or size, generator=generator, dtype=torch.float64)
    return factor @ factor.T


def test_commuting_gaussians_have_a_closed_form() -> None:
    mean_1, mean_2 = torch.tensor([1.0, -2.0, 0.0]), torch.tensor([0.0, 1.0, 0.5])
    std_1, std_2 = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([3.0, 0.5, 1.0])
    expected = (mean_1 - mean_2).square().sum() + (std_1 - std_2).square().sum()
    found = frechet_distance(mean_1, std_1.square().diag(), mean_2, std_2.square().diag())
    assert found == pytest.approx(expected.item(), rel=1e-12)


def test_torchmetrics_agrees_on_the_same_features(generator: torch.Generator) -> None:
    mix = torch.randn(20, 20, generator=generator)
    x = (torch.randn(400, 20, generator=generator) @ mix).relu()
    y = (torch.randn(300, 20, generator=generator) @ mix + 0.3).relu()
    moments = [*feature_moments(x.split(90)).values(), *feature_moments([y]).values()]
    identity = torch.nn.Identity()
    identity.num_features = 20
    torchmetrics = FrechetInceptionDistance(feature=identity)
    torchmetrics.update(x, real=False)
    torchmetrics.update(y, real=True)
    assert frechet_distance(*moments) == pytest.approx(torchmetrics.compute().item(), rel=1e-4)


def test_singular_covariances_stay_real_and_symmetric(generator: torch.Generator) -> None:
    first, second = covariance(generator, 20, rank=3), covariance(generator, 20, rank=5)
    zero = torch.zeros(20, dtype=torch.float64)
    forth = frechet_distance(zero, first, zero, second)
    assert forth > 0
    assert forth == pytest.approx(frechet_distance(zero, second, zero, first), rel=1e-6)
    assert frechet_distance(zero, first, zero, first) == pytest.approx(0, abs=1e-6)


def test_batches_of_any_size_give_the_moments_of_all_rows(generator: torch.Generator) -> None:
    x = torch.randn(101, 5, generator=generator, dtype=torch.float64) + 1e4
    moments = feature_moments([x[:1], x[1:4], x[4:4], x[4:90], x[90:]])
    torch.testing.assert_close(moments["mean"], x.mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(moments["covariance"], x.T.cov(), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("n", "m", "size"), [(6, 9, 20), (40, 9, 20), (40, 30, 5), (1, 9, 4)])
def test_rows_give_the_distance_of_their_moments(
    generator: torch.Generator, n: int, m: int, size: int
) -> None:
    """With fewer or more rows than features; a single row is a point without covariance."""
    x, y = torch.randn(n, size, generator=generator), torch.randn(m, size, generator=generator) + 1
    first = x.double().mean(0), x.double().T.cov() if n > 1 else torch.zeros(size, size)
    expected = frechet_distance(*first, *feature_moments([y]).values())
    assert frechet_distance_of_rows(x, y) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance_of_rows(y, y) == pytest.approx(0, abs=1e-10)


def test_within_labels_it_is_the_mean_of_their_squared_shifts(generator: torch.Generator) -> None:
    """Labels that swap their places have the distance 0 together, and not within each."""
    real, labels = torch.randn(30, 4, generator=generator), torch.arange(30) % 3
    shift = torch.tensor([[3.0, 0, 4, 0], [-3, 0, -4, 0], [0, 1, 0, 0]])
    order = torch.randperm(30, generator=generator)
    metric = Metric.create("fid-within")
    metric.update(real, labels, real=True)
    metric.update((real + shift[labels])[order], labels[order], real=False)
    assert metric.compute() == {"fid-within": pytest.approx((25 + 25 + 1) / 3, rel=1e-6)}


def test_impossible_features_are_refused() -> None:
    with pytest.raises(InputError, match="2 rows or more for a covariance, got 1"):
        feature_moments([torch.zeros(1, 3)])
    with pytest.raises(InputError, match="finite features"):
        feature_moments([torch.full((2, 3), float("inf"))])
    with pytest.raises(InputError, match=r"covariances \[F, F\]"):
        frechet_distance(torch.zeros(2), torch.eye(2), torch.zeros(3), torch.eye(3))
