"""State that goes into a checkpoint and comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from flowprior.data import TensorData
from flowprior.errors import CheckpointError
from flowprior.flow import Flow
from flowprior.training.state import TrainingState

from .conftest import SmallNet, components, small_net


def stepped(data: TensorData) -> TrainingState:
    """A state after two steps on made-up gradients, between two log lines."""
    state = TrainingState(components(data))
    generator = torch.Generator().manual_seed(1)
    for _ in range(2):
        for weight in state.weights:
            weight.grad = torch.randn(weight.shape, generator=generator)
        state.means.add(torch.tensor(0.7), torch.tensor(0.3))
        state.optimizer.step()
        state.scheduler.step()
        state.ema.update_parameters(state.model)
        state.step += 1
    return state


def test_everything_comes_back(points: TensorData, tmp_path: Path) -> None:
    old = stepped(points)
    old.save(tmp_path)
    new = TrainingState(components(points, SmallNet()))
    assert new.resume(tmp_path) == new.saved == tmp_path / "step-000002"
    assert new.step == 2
    for a, b in ((old.model, new.model), (old.ema, new.ema), (old.parts.prior, new.parts.prior)):
        mine, theirs = a.state_dict(), b.state_dict()
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert new.optimizer.param_groups[0]["lr"] == old.optimizer.param_groups[0]["lr"]
    for mine, theirs in zip(old.weights, new.weights, strict=True):
        for key, value in old.optimizer.state[mine].items():
            assert torch.equal(value, new.optimizer.state[theirs][key])
    assert torch.equal(new.means.tensor(), old.means.tensor())


def test_a_prior_that_was_not_fitted_gets_the_saved_one(points: TensorData, tmp_path: Path) -> None:
    old = stepped(points)
    old.save(tmp_path)
    parts = components(points)
    fresh = type(parts.prior)()
    assert not fresh.is_fitted
    new = TrainingState(type(parts)(**{**vars(parts), "prior": fresh}))
    new.resume(tmp_path)
    assert fresh.is_fitted
    assert fresh.event_shape == (2,)


def test_the_saved_flow_is_the_average_not_the_raw_weights(points: TensorData, tmp_path: Path) -> None:
    state = stepped(points)
    flow = Flow.load(state.save(tmp_path), model=small_net())
    average, raw = state.ema.module.state_dict(), state.model.state_dict()
    loaded = flow.model.state_dict()
    assert all(torch.equal(loaded[key], average[key]) for key in average)
    assert not all(torch.equal(raw[key], average[key]) for key in average)


def test_another_model_or_data_set_does_not_fit(points: TensorData, tmp_path: Path) -> None:
    stepped(points).save(tmp_path)

    class Other(SmallNet):
        def __init__(self) -> None:
            super().__init__()
            self.more = nn.Linear(2, 2)

    with (
        pytest.warns(RuntimeWarning),
        pytest.raises(CheckpointError, match="does not fit this model and prior"),
    ):
        TrainingState(components(points, Other())).resume(tmp_path)
    fewer = TensorData(points.x[:40], points.cond[:40] if points.cond is not None else None, classes=3)
    with (
        pytest.warns(RuntimeWarning),
        pytest.raises(CheckpointError, match=r"size \[50, 2\], got \[40, 2\]; resume on the same data"),
    ):
        TrainingState(components(fewer)).resume(tmp_path)
