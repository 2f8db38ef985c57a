"""W2² and sliced W2²: POT, closed forms, invariances, labels, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import ot
import pytest
import torch

from flowprior.errors import CouplingError, InputError
from flowprior.metrics import (
    precision_recall,
    sliced_wasserstein2_per_condition,
    sliced_wasserstein2_squared,
    wasserstein2_per_condition,
    wasserstein2_squared,
)
from flowprior.metrics.kernel import polynomial_mmd2


def randn(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_one_dimension_is_sorting(generator: torch.Generator) -> None:
    x, y = randn(generator, 200, 1), randn(generator, 200, 1).exp()
    expected = (x.sort(0).values - y.sort(0).values).square().mean().item()
    assert wasserstein2_squared(x, y) == pytest.approx(expected, rel=1e-12)


def test_float32_far_from_the_origin_keeps_its_digits(generator: torch.Generator) -> None:
    x = torch.randint(0, 8, (40, 2), generator=generator).float() + 1e4
    assert wasserstein2_squared(x, x + torch.tensor([0.0, 0.25])) == pytest.approx(0.0625, rel=1e-9)


def test_average_over_labels_ignores_the_order_of_rows(generator: torch.Generator) -> None:
    x, y = randn(generator, 90, 2), randn(generator, 60, 2)
    cond, cond_y = torch.arange(90) % 3, torch.arange(60) % 3
    distances = wasserstein2_per_condition(x, cond, y, cond_y)
    p, q = torch.randperm(90, generator=generator), torch.randperm(60, generator=generator)
    shuffled = wasserstein2_per_condition(x[p], cond[p], y[q], cond_y[q])
    assert sorted(distances) == [0, 1, 2]
    assert shuffled == pytest.approx(distances, rel=1e-10)
    assert distances[1] == pytest.approx(wasserstein2_squared(x[1::3], y[1::3]), rel=1e-12)
    few = wasserstein2_per_condition(x, cond, y, cond_y, max_per_condition=5)
    assert few[0] == pytest.approx(wasserstein2_squared(x[0:15:3], y[0:15:3]))


def test_swapped_labels_cost_although_the_pooled_clouds_agree() -> None:
    x = torch.tensor([[0.0], [0.0], [4.0], [4.0]])
    right, wrong = torch.tensor([0, 0, 1, 1]), torch.tensor([1, 1, 0, 0])
    assert wasserstein2_per_condition(x, wrong, x, right) == {0: 16.0, 1: 16.0}
    for pooled in (None, torch.randn(4, 3)):
        assert wasserstein2_per_condition(x, pooled, x, pooled) == {-1: 0.0}
    with pytest.raises(InputError, match="label 7 was generated but is not in the reference"):
        wasserstein2_per_condition(x, torch.tensor([0, 7, 0, 1]), x, right)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (torch.zeros(0, 2), torch.zeros(3, 2), "non-empty|at least 2 rows"),
        (torch.zeros(3, 2), torch.zeros(3, 4), "one event shape"),
        (torch.full((3, 2), float("nan")), torch.zeros(3, 2), "NaN or infinity in the first"),
    ],
)
@pytest.mark.parametrize(
    "distance", [wasserstein2_squared, sliced_wasserstein2_squared, precision_recall, polynomial_mmd2]
)
def test_impossible_clouds_are_refused(
    distance: Callable[..., Any], x: torch.Tensor, y: torch.Tensor, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        distance(x, y)


def test_a_plan_that_does_not_converge_raises(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowprior.metrics.transport.MOST_ITERATIONS", 2)
    x, y = randn(generator, 80, 2), randn(generator, 90, 2)
    with pytest.raises(CouplingError, match="did not converge"):
        wasserstein2_squared(x, y)


def test_it_is_the_mean_over_directions_of_sorted_projections(generator: torch.Generator) -> None:
    x = torch.randn(50, 3, generator=generator)
    y = torch.randn(50, 3, generator=generator).exp()
    directions = ot.sliced.get_random_projections(3, 20, seed=4)
    projected = (np.sort(cloud.double().numpy() @ directions, axis=0) for cloud in (x, y))
    expected = np.square(np.subtract(*projected)).mean()
    assert sliced_wasserstein2_squared(x, y, directions=20, seed=4) == pytest.approx(expected, rel=1e-10)


def test_labels_are_compared_on_their_own(generator: torch.Generator) -> None:
    x, y = torch.randn(40, 2, generator=generator), torch.randn(60, 2, generator=generator)
    cond, cond_y = torch.arange(40) % 2, torch.arange(60) % 2
    found = sliced_wasserstein2_per_condition(x, cond, y, cond_y, directions=30)
    assert sorted(found) == [0, 1]
    assert found[1] == sliced_wasserstein2_squared(x[1::2], y[1::2], directions=30)
    pooled = sliced_wasserstein2_per_condition(x, None, y, None, directions=30)
    assert pooled == {-1: sliced_wasserstein2_squared(x, y, directions=30)}
