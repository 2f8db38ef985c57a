"""One training step: what it sees, in which precision, in which order, whole or in micro-batches."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowprior import train
from flowprior.conditions import Condition, Conditions
from flowprior.couplings.drawing import CondOTCoupling
from flowprior.data import TensorData
from flowprior.errors import OptionError, TrainingDiverged, TrainingInterrupted
from flowprior.priors import Prior
from flowprior.training import objective
from flowprior.training.batches import Randomness
from flowprior.training.loop import LIMIT_CODE, drop_conditions, dropped_rows, training_step
from flowprior.training.state import TrainingState

from .conftest import SHORT, SmallNet, begun, components, small_net


class Recorder(SmallNet):
    """Remembers what the network was given and what its linear layers gave."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Tensor, Tensor, Tensor | None]] = []
        self.inside: list[torch.dtype] = []
        self.body.register_forward_hook(lambda module, given, result: self.inside.append(result.dtype))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        self.calls.append((x, t, cond))
        return super().forward(x, t, cond)

    def __deepcopy__(self, memo: dict[int, Any]) -> SmallNet:
        return small_net()


def test_one_step_is_adamw_on_the_flow_matching_loss(points: TensorData) -> None:
    """With the learning rate of the first of four warm-up steps."""
    state, pairs = begun(components(points, clip=0.0, weight_decay=0.0))
    x0, x1, cond = pairs.micro_batch(0)
    t = torch.rand(8, generator=state.randomness.generator("time", 0))
    expected = small_net()
    v = expected((1 - t)[:, None] * x0 + t[:, None] * x1, t, cond)
    loss = (v - (x1 - x0)).square().mean()
    loss.backward()
    torch.optim.AdamW(expected.parameters(), lr=1e-3 / 4, betas=(0.9, 0.99), weight_decay=0.0).step()
    assert training_step(state, pairs).item() == pytest.approx(loss.item(), rel=1e-6)
    for mine, theirs in zip(state.model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("clip", [0.01, 0.0])
def test_the_gradient_is_clipped_before_the_step(points: TensorData, clip: float) -> None:
    state, pairs = begun(components(points, clip=clip))
    training_step(state, pairs)
    # After one step AdamW's first moment is (1 - beta1) times the gradient that it was given.
    moments = [state.optimizer.state[weight]["exp_avg"].flatten() for weight in state.weights]
    norm = torch.cat(moments).norm().item() / (1 - 0.9)
    raw = float(state.means.sums[1])
    assert raw > 0.1
    assert norm == pytest.approx(clip or raw, rel=1e-3)


@pytest.mark.parametrize(("precision", "inside"), [("bfloat16", torch.bfloat16), ("float32", torch.float32)])
def test_only_the_forward_pass_is_in_bfloat16(
    points: TensorData, precision: str, inside: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, seen = Recorder(), []
    state, pairs = begun(components(points, model, precision=precision))
    interpolate, loss_function = state.parts.path.interpolate, objective.flow_matching_loss

    def recorded_path(x0: Tensor, x1: Tensor, t: Tensor, **_: Any) -> Any:
        sample = interpolate(x0, x1, t)
        assert {value.dtype for value in (x0, x1, t, *sample)} == {torch.float32}
        return sample

    def recorded_loss(v: Tensor, u: Tensor) -> Tensor:
        loss = loss_function(v, u)
        seen.extend([v.dtype, u.dtype, torch.is_autocast_enabled("cpu"), loss.dtype])
        return loss

    monkeypatch.setattr(state.parts.path, "interpolate", recorded_path)
    monkeypatch.setattr(objective, "flow_matching_loss", recorded_loss)
    training_step(state, pairs)
    assert model.inside == [inside]
    assert model.calls[0][0].dtype == torch.float32
    assert seen == [inside, torch.float32, False, torch.float32]
    assert {weight.dtype for weight in state.weights} == {torch.float32}


def test_condition_dropout_only_changes_what_the_model_sees(points: TensorData) -> None:
    model = Recorder()
    state, pairs = begun(components(points, model, condition_dropout=0.5, batch_size=25))
    for step in range(12):
        real = torch.as_tensor(pairs.micro_batch(step)[2])
        training_step(state, pairs)
        seen = torch.as_tensor(model.calls[step][2])
        assert torch.all((seen == real) | (seen == points.condition.size))
    dropped = torch.cat([cond == 3 for _, _, cond in model.calls if cond is not None])
    assert 0.37 < dropped.float().mean() < 0.63  # 4.5 standard errors of 300 coins


def test_condition_dropout_of_embeddings_and_of_nothing() -> None:
    embeddings, randomness = torch.ones(200, 3), Randomness(0)
    condition, mask = Condition("embeddings", 3), dropped_rows(200, 0.4, 0, randomness)
    dropped = torch.as_tensor(drop_conditions(embeddings, condition, mask))
    assert set(dropped.sum(1).tolist()) == {0.0, 3.0}
    assert dropped_rows(200, 0.0, 0, randomness) is None
    assert drop_conditions(embeddings, condition, None) is embeddings
    assert drop_conditions(None, Condition(), mask) is None


def test_channels_last_reaches_model_and_pictures() -> None:
    class Convolution(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 3, 3, padding=1)
            self.seen = False

        def forward(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
            self.seen = x.is_contiguous(memory_format=torch.channels_last)
            return self.layer(x)

    model = Convolution()
    data = TensorData(torch.rand(16, 3, 4, 4), is_image=True)
    training_step(*begun(components(data, model, channels_last=True)))
    assert model.seen
    assert model.layer.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_bad_loss_stops_before_the_weights_change(points: TensorData) -> None:
    state, pairs = begun(components(points))
    training_step(state, pairs)
    before = [weight.detach().clone() for weight in state.weights]
    points.x[:] = math.inf
    with pytest.raises(TrainingDiverged, match=r"at step 2: loss (nan|inf), lr 0\.0005; no checkpoint"):
        training_step(state, pairs)
    assert all(torch.equal(a, b) for a, b in zip(before, state.weights, strict=True))
    assert state.step == 1


def test_a_bad_gradient_under_a_good_loss_stops_too(points: TensorData) -> None:
    class Sharp(SmallNet):
        def forward(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
            v = super().forward(x, t, cond)
            return v + (v * 0).abs().sqrt()  # finite, with a gradient of 0 * inf

    with pytest.raises(TrainingDiverged, match=r"at step 1: loss [0-9.]+, "):
        training_step(*begun(components(points, Sharp())))


class Mirrored(CondOTCoupling):
    """Each data sample comes from its mirror image, so that pairs do not depend on the micro-batches."""

    def draw(
        self, prior: Prior, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return -x1


def test_the_gradient_of_micro_batches_is_that_of_the_whole_batch(points: TensorData) -> None:
    states: list[TrainingState] = []
    for accumulate in (1, 3):
        parts = components(points, batch_size=24, accumulate=accumulate, condition_dropout=0.3)
        state, pairs = begun(parts)
        pairs.coupling = Mirrored()
        training_step(state, pairs)
        states.append(state)
    whole, parts = states
    torch.testing.assert_close(parts.means.sums, whole.means.sums, rtol=1e-5, atol=0)
    for mine, theirs in zip(parts.weights, whole.weights, strict=True):
        first = parts.optimizer.state[mine]["exp_avg"]
        torch.testing.assert_close(first, whole.optimizer.state[theirs]["exp_avg"], rtol=1e-5, atol=1e-7)


def test_dropout_inside_the_network_differs_from_part_to_part(points: TensorData) -> None:
    seen: list[Tensor] = []
    model = small_net(dropout=0.5)
    model.body.register_forward_hook(lambda module, given, result: seen.append(module[2](torch.ones(2, 500))))
    training_step(*begun(components(points, model, batch_size=8, accumulate=2)))
    first, second = seen
    assert not torch.equal(first, second)


@pytest.mark.parametrize("coupling", ["condot", "ot:ot_batch=8"])
def test_pieces_and_a_worker_change_nothing(points: TensorData, tmp_path: Path, coupling: str) -> None:
    def run(folder: str, **options: Any) -> dict[str, Tensor]:
        given = {"prior": "gaussian", "coupling": coupling, "model": small_net(0.2), "resume": True, **SHORT}
        given |= {"accumulate": 2, "condition_dropout": 0.2, **options}
        return train(points, out=tmp_path / folder, **given).state_dict()

    whole = run("whole")
    for step, ahead in ((1, 3), (2, 0)):
        expected = f"its limit of 1e-09 minutes after step {step} of 12"
        with pytest.raises(TrainingInterrupted, match=expected) as stop:
            run("pieces", prefetch=ahead, max_minutes=1e-9)
        assert stop.value.code == LIMIT_CODE
    pieces = run("pieces", prefetch=1)
    assert all(torch.equal(value, pieces[name]) for name, value in whole.items())


def test_a_batch_that_cannot_be_divided_and_other_micro_batches_of_a_run_are_refused(
    points: TensorData, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"prior": "gaussian", "coupling": "condot", "model": small_net(), **SHORT}
    with pytest.raises(OptionError, match="batch_size=8 cannot be divided into 3 micro-batches"):
        train(points, accumulate=3, **options)
    train(points, accumulate=2, out=tmp_path / "run", **options)
    with pytest.raises(OptionError, match="was trained with 2 micro-batches a step, got 1"):
        train(points, resume=True, out=tmp_path / "run", **options)
