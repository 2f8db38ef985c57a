"""Running means between log lines."""

from __future__ import annotations

import math

import pytest
import torch

from flowprior.training.state import RunningMean


def test_means_and_reset() -> None:
    means = RunningMean()
    assert math.isnan(means.tensor()[0])
    for loss, norm in [(1.0, 10.0), (2.0, 30.0)]:
        means.add(torch.tensor(loss), torch.tensor(norm))
    assert means.tensor().tolist() == pytest.approx([1.5, 20.0])
    means.reset()
    means.add(torch.tensor(7.0), torch.tensor(8.0))
    assert means.tensor().tolist() == pytest.approx([7.0, 8.0])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_bad_value_is_not_forgotten(bad: float) -> None:
    means = RunningMean()
    means.add(torch.tensor(1.0), torch.tensor(bad))
    means.add(torch.tensor(1.0), torch.tensor(1.0))
    assert not means.is_finite()
    means.reset()
    assert means.is_finite()
