"""Sliced W2²: the average over directions written out, POT, closed forms, labels, what is refused."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import torch

from flowprior.errors import InputError, OptionError
from flowprior.metrics import (
    sliced_wasserstein2_per_condition,
    sliced_wasserstein2_squared,
    wasserstein2_squared,
)


def test_it_is_the_mean_over_directions_of_sorted_projections(generator: torch.Generator) -> None:
    x = torch.randn(50, 3, generator=generator)
    y = torch.randn(50, 3, generator=generator).exp()
    directions = ot.sliced.get_random_projections(3, 20, seed=4)
    projected = (np.sort(cloud.double().numpy() @ directions, axis=0) for cloud in (x, y))
    expected = np.square(np.subtract(*projected)).mean()
    assert sliced_wasserstein2_squared(x, y, directions=20, seed=4) == pytest.approx(expected, rel=1e-10)


def test_one_dimension_is_w2(generator: torch.Generator) -> None:
    x, y = torch.randn(60, 1, generator=generator), torch.randn(45, 1, generator=generator) * 2
    assert sliced_wasserstein2_squared(x, y, directions=3) == pytest.approx(
        wasserstein2_squared(x, y), rel=1e-9
    )


def test_a_shift_costs_its_square_over_the_dimension(generator: torch.Generator) -> None:
    x = torch.randn(80, 2, 5, generator=generator)
    assert sliced_wasserstein2_squared(x, x + 3, directions=4000) == pytest.approx(9, rel=0.05)
    assert sliced_wasserstein2_squared(x, x.flip(0)) == pytest.approx(0, abs=1e-10)


def test_labels_are_compared_on_their_own(generator: torch.Generator) -> None:
    x, y = torch.randn(40, 2, generator=generator), torch.randn(60, 2, generator=generator)
    cond, cond_y = torch.arange(40) % 2, torch.arange(60) % 2
    found = sliced_wasserstein2_per_condition(x, cond, y, cond_y, directions=30)
    assert sorted(found) == [0, 1]
    assert found[1] == sliced_wasserstein2_squared(x[1::2], y[1::2], directions=30)
    pooled = sliced_wasserstein2_per_condition(x, None, y, None, directions=30)
    assert pooled == {-1: sliced_wasserstein2_squared(x, y, directions=30)}


def test_impossible_calls_are_refused() -> None:
    with pytest.raises(OptionError, match="directions=0"):
        sliced_wasserstein2_squared(torch.zeros(3, 2), torch.zeros(3, 2), directions=0)
    x, cond, other = torch.zeros(3, 2), torch.tensor([0, 7, 7]), torch.zeros(3, dtype=torch.long)
    with pytest.raises(InputError, match="label 7 was generated but is not in the reference"):
        sliced_wasserstein2_per_condition(x, cond, x, other)
