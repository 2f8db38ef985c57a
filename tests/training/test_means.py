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


def test_going_on_from_a_state() -> None:
    whole, first, second = RunningMean(), RunningMean(), RunningMean()
    for value in (0.1, 0.2):
        whole.add(torch.tensor(value), torch.tensor(value))
        first.add(torch.tensor(value), torch.tensor(value))
    second.load_state(first.state())
    for means in (whole, second):
        means.add(torch.tensor(0.3), torch.tensor(0.3))
    assert torch.equal(whole.tensor(), second.tensor())
