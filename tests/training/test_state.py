"""The state of a training: checkpoints bring it back, damaged ones do not; rate, optimiser and average."""

from __future__ import annotations

import errno
import itertools
import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from flowprior.data import TensorData
from flowprior.errors import CheckpointError, OptionError
from flowprior.training import TrainingConfig, checkpoints
from flowprior.training.checkpoints import list_checkpoints, read_checkpoint
from flowprior.training.state import TrainingState, build_ema, learning_rate
from tests.flow_folder import weights_of
from tests.fuzz.test_run_folders import Canary

from .conftest import SmallNet, components


def stepped(data: TensorData) -> TrainingState:
    """A state after two steps on made-up gradients, between two log lines."""
    state = TrainingState(components(data))
    generator = torch.Generator().manual_seed(1)
    for _ in range(2):
        for weight in state.weights:
            weight.grad = torch.randn(weight.shape, generator=generator)
        state.means.add(torch.tensor([0.7, 0.3]))
        state.optimizer.step()
        state.ema.update_parameters(state.model)
        state.step += 1
    return state


def test_everything_comes_back_into_a_prior_that_was_not_fitted(points: TensorData, tmp_path: Path) -> None:
    old = stepped(points)
    old.save(tmp_path)
    parts = components(points, SmallNet())
    new = TrainingState(replace(parts, prior=type(parts.prior)()))
    assert not new.parts.prior.is_fitted
    assert new.resume(tmp_path) == new.saved == tmp_path / "step-000002"
    assert new.step == 2
    for a, b in ((old.model, new.model), (old.ema, new.ema), (old.parts.prior, new.parts.prior)):
        mine, theirs = a.state_dict(), b.state_dict()
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    for mine, theirs in zip(old.weights, new.weights, strict=True):
        for key, value in old.optimizer.state[mine].items():
            assert torch.equal(value, new.optimizer.state[theirs][key])
    assert (new.means.take(), new.parts.prior.event_shape) == (old.means.take(), (2,))


def test_another_model_or_data_set_does_not_fit(points: TensorData, tmp_path: Path) -> None:
    stepped(points).save(tmp_path)

    class Other(SmallNet):
        def __init__(self) -> None:
            super().__init__()
            self.more = nn.Linear(2, 2)

    Other.__name__ = "SmallNet"
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


def test_warm_up_then_cosine() -> None:
    config = TrainingConfig(steps=101, warmup=20, final_lr=0.1, lr=0.5)
    factors = [learning_rate(step, config) / 0.5 for step in range(101)]
    assert factors[0] == pytest.approx(1 / 20)
    assert factors[9] == pytest.approx(10 / 20)
    assert factors[19] == factors[20] == pytest.approx(1.0)
    assert factors[60] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 40 / 80)) / 2)
    assert factors[100] == pytest.approx(0.1)
    assert all(later <= earlier for earlier, later in itertools.pairwise(factors[20:]))
    short = TrainingConfig(steps=10, warmup=200, lr=0.5)  # the warm-up takes at most half of the steps
    assert learning_rate(4, short) == 0.5
    assert learning_rate(9, short) == pytest.approx(0.5 * short.final_lr)


def test_frozen_weights_are_left_out_of_the_optimiser(points: TensorData) -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    state = TrainingState(components(points, model, beta2=0.8, weight_decay=0.3))
    (group,) = state.optimizer.param_groups
    assert group["params"] == [model.weight]
    assert (group["betas"], group["weight_decay"]) == ((0.9, 0.8), 0.3)
    with pytest.raises(OptionError, match="parameters that take a gradient, got none"):
        TrainingState(components(points, model.requires_grad_(False)))


def test_ema_follows_its_formula_with_the_start_up_ramp_and_copies_buffers() -> None:
    model = nn.BatchNorm1d(1)
    ema = build_ema(model, highest=0.5)
    expected = 0.0
    for update in range(20):
        value = float(update**2 % 7)
        model.weight.data.fill_(value)
        model.running_mean.fill_(value)
        ema.update_parameters(model)
        decay = min(0.5, (1 + update) / (10 + update))
        expected = value if update == 0 else decay * expected + (1 - decay) * value
        assert float(ema.module.weight) == pytest.approx(expected, rel=1e-5)
        assert float(ema.module.running_mean) == value
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


# -- checkpoints that are damaged, too many, or meet a full disk ----------------------------------


@pytest.fixture
def state(points: TensorData) -> TrainingState:
    return TrainingState(components(points))


def save_at(state: TrainingState, folder: Path, *steps: int) -> None:
    for step in steps:
        state.step = step
        state.save(folder)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_and_order(state: TrainingState, tmp_path: Path) -> None:
    save_at(state, tmp_path, 5, 1_000_000)
    assert [step for step, _ in list_checkpoints(tmp_path)] == [5, 1_000_000]
    weights = weights_of(tmp_path / "step-000005").name
    assert names(tmp_path / "step-000005") == ["flow.json", "model.safetensors", "training.pt", weights]


def test_the_newest_are_kept_and_an_unreadable_later_one_does_not_count(
    state: TrainingState, tmp_path: Path
) -> None:
    (tmp_path / "step-000009").mkdir()
    save_at(state, tmp_path, 1, 2, 3)
    assert names(tmp_path) == ["step-000002", "step-000003", "step-000009"]


@pytest.mark.parametrize("function", ["save_state", "save_tensors"])
@pytest.mark.parametrize("step", [2, 1])
def test_a_full_disk_leaves_the_previous_checkpoint(
    state: TrainingState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, step: int
) -> None:
    """Also the one of the step that is written again."""
    save_at(state, tmp_path, 1)

    def full(path: Path, *values: Any) -> None:
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, function, full)
    with pytest.raises(CheckpointError, match="No space left on device") as caught:
        save_at(state, tmp_path, step)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["step-000001"]
    assert read_checkpoint(tmp_path / "step-000001")[-1]["step"] == 1


@pytest.mark.parametrize("file", ["weights", "model.safetensors", "training.pt", "flow.json"])
def test_a_damaged_checkpoint_is_skipped_with_a_warning(
    state: TrainingState, tmp_path: Path, file: str
) -> None:
    save_at(state, tmp_path, 1, 2)
    folder = tmp_path / "step-000002"
    path = weights_of(folder) if file == "weights" else folder / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.warns(RuntimeWarning, match="step-000002 is skipped"):
        assert state.resume(tmp_path) == tmp_path / "step-000001"
    assert state.step == 1
    (tmp_path / "step-000001" / "flow.json").unlink()
    with (
        pytest.warns(RuntimeWarning),
        pytest.raises(CheckpointError, match=r"can be read \(step-000002: .*step-000001: "),
    ):
        state.resume(tmp_path)


@pytest.mark.parametrize("writer", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_pickled_objects_are_never_run(
    state: TrainingState, tmp_path: Path, writer: Callable[[Any, Path], Any]
) -> None:
    save_at(state, tmp_path, 1)
    writer({"step": 1, "optimizer": Canary(tmp_path / "owned")}, tmp_path / "step-000001" / "training.pt")
    with (
        pytest.warns(RuntimeWarning, match="step-000001 is skipped"),
        pytest.raises(CheckpointError, match=r"no checkpoint in .* can be read"),
    ):
        state.resume(tmp_path)
    assert not (tmp_path / "owned").exists()
