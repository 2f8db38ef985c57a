"""Learning rate, optimiser and moving average, against their formulas."""

from __future__ import annotations

import itertools
import math
import warnings

import pytest
import torch
from torch import nn

from flowprior.training import TrainingConfig
from flowprior.training.state import (
    build_ema,
    build_optimizer,
    build_scheduler,
    ema_decay,
    learning_rate_factor,
)


def test_warm_up_then_cosine() -> None:
    config = TrainingConfig(steps=101, warmup=20, final_lr=0.1)
    factors = [learning_rate_factor(step, config) for step in range(101)]
    assert factors[0] == pytest.approx(1 / 20)
    assert factors[9] == pytest.approx(10 / 20)
    assert factors[19] == factors[20] == pytest.approx(1.0)
    assert factors[60] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 40 / 80)) / 2)
    assert factors[100] == pytest.approx(0.1)
    assert all(later <= earlier for earlier, later in itertools.pairwise(factors[20:]))


def test_warm_up_takes_at_most_half_of_the_steps() -> None:
    config = TrainingConfig(steps=10, warmup=200)
    assert learning_rate_factor(4, config) == 1.0
    assert learning_rate_factor(9, config) == pytest.approx(config.final_lr)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_runs_have_a_positive_rate(steps: int) -> None:
    config = TrainingConfig(steps=steps)
    assert all(0 < learning_rate_factor(step, config) <= 1 for step in range(steps + 1))


def test_scheduler_stands_where_it_is_told_to() -> None:
    config = TrainingConfig(steps=20, warmup=5, lr=0.5)
    model = nn.Linear(2, 2)
    optimizer = build_optimizer(model, config)
    scheduler = build_scheduler(optimizer, config)
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == [0.5 * learning_rate_factor(step, config) for step in range(10)]
    resumed = build_optimizer(nn.Linear(2, 2), config)
    resumed.load_state_dict(optimizer.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_scheduler(resumed, config, step=7)
    assert resumed.param_groups[0]["lr"] == rates[7]


def test_frozen_weights_are_left_out_of_the_optimiser() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    (group,) = build_optimizer(model, TrainingConfig(beta1=0.8, weight_decay=0.3)).param_groups
    assert group["params"] == [model.weight]
    assert (group["betas"], group["weight_decay"]) == ((0.8, 0.99), 0.3)


def test_ema_follows_its_formula_with_the_start_up_ramp() -> None:
    model = nn.Linear(1, 1, bias=False)
    ema = build_ema(model, highest=0.5)
    expected = 0.0
    for update in range(20):
        value = float(update**2 % 7)
        model.weight.data.fill_(value)
        ema.update_parameters(model)
        decay = min(0.5, (1 + update) / (10 + update))
        expected = value if update == 0 else decay * expected + (1 - decay) * value
        assert float(ema.module.weight) == pytest.approx(expected, rel=1e-5)


def test_ema_decay_grows_to_its_highest_value() -> None:
    assert ema_decay(0.999, 0) == pytest.approx(0.1)
    assert ema_decay(0.999, 90) == pytest.approx(0.91)
    assert ema_decay(0.999, 10**6) == 0.999
    assert ema_decay(0.0, 10**6) == 0.0


def test_ema_copies_buffers_and_wants_no_gradient() -> None:
    model = nn.BatchNorm1d(2)
    ema = build_ema(model, highest=0.9)
    for _ in range(3):
        model(torch.randn(8, 2, generator=torch.Generator().manual_seed(0)))
        ema.update_parameters(model)
    assert torch.equal(ema.module.running_mean, model.running_mean)
    assert int(ema.module.num_batches_tracked) == 3
    assert not any(parameter.requires_grad for parameter in ema.parameters())
    assert not ema.module.training


def test_the_average_of_short_weights_is_held_in_float32() -> None:
    """A change of a thousandth is lost in bfloat16, and stays in the average of many steps."""
    model = nn.Linear(1, 1, bias=False).bfloat16()
    ema = build_ema(model, 0.999)
    with torch.no_grad():
        model.weight.fill_(1.0)
        ema.update_parameters(model)
        model.weight.fill_(1.0078125)  # the next number above 1
        for _ in range(3):
            ema.update_parameters(model)
    average = ema.module.weight
    assert average.dtype == torch.float32
    assert 1.0 < float(average) < 1.0078125
    assert float(average.bfloat16()) in (1.0, 1.0078125)


def test_an_average_of_short_weights_runs_with_its_buffers() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).bfloat16()
    ema = build_ema(model, 0.9)
    ema.update_parameters(model)
    assert ema.module(torch.randn(2, 3)).dtype == torch.float32
