"""One training step: what it sees, in which precision, in which order."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.data import TensorData
from flowprior.errors import TrainingDiverged
from flowprior.training import loop
from flowprior.training.batches import PairStream, Randomness
from flowprior.training.components import Components
from flowprior.training.loop import drop_conditions, dropped_rows, is_due, training_step
from flowprior.training.state import TrainingState

from .conftest import SmallNet, components, small_net


def start(parts: Components) -> tuple[TrainingState, PairStream, Randomness]:
    config = parts.config.training
    randomness = Randomness(config.seed, parts.device)
    pairs = PairStream(parts.data, parts.prior, parts.coupling, config.batch_size, randomness)
    return TrainingState(parts), pairs, randomness


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
    state, pairs, randomness = start(components(points, clip=0.0, warmup=0, weight_decay=0.0))
    x0, x1, cond = pairs.micro_batch(0)
    t = torch.rand(8, generator=randomness.generator("time", 0))
    expected = small_net()
    v = expected((1 - t)[:, None] * x0 + t[:, None] * x1, t, cond)
    loss = (v - (x1 - x0)).square().mean()
    loss.backward()
    optimizer = torch.optim.AdamW(expected.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0)
    optimizer.step()
    result = training_step(state, pairs, randomness)
    assert result.loss.item() == pytest.approx(loss.item(), rel=1e-6)
    for mine, theirs in zip(state.model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("clip", [0.01, 0.0])
def test_the_gradient_is_clipped_before_the_step(points: TensorData, clip: float) -> None:
    state, pairs, randomness = start(components(points, clip=clip))
    training_step(state, pairs, randomness)
    # After one step AdamW's first moment is (1 - beta1) times the gradient that it was given.
    moments = [state.optimizer.state[weight]["exp_avg"].flatten() for weight in state.weights]
    norm = torch.cat(moments).norm().item() / (1 - 0.9)
    raw = float(state.means.tensor()[1])
    assert raw > 0.1
    assert norm == pytest.approx(clip or raw, rel=1e-3)


@pytest.mark.parametrize(("precision", "inside"), [("bfloat16", torch.bfloat16), ("float32", torch.float32)])
def test_only_the_forward_pass_is_in_bfloat16(
    points: TensorData, precision: str, inside: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, losses = Recorder(), []
    parts = components(points, model, precision=precision)
    state, pairs, randomness = start(parts)
    interpolated: list[torch.dtype] = []
    interpolate, loss_function = parts.path.interpolate, loop.flow_matching_loss

    def recorded_path(x0: Tensor, x1: Tensor, t: Tensor) -> Any:
        sample = interpolate(x0, x1, t)
        interpolated.extend(value.dtype for value in (x0, x1, t, *sample))
        return sample

    def recorded_loss(v: Tensor, u: Tensor) -> Tensor:
        loss = loss_function(v, u)
        losses.extend([v.dtype, u.dtype, torch.is_autocast_enabled("cpu"), loss.dtype])
        return loss

    monkeypatch.setattr(parts.path, "interpolate", recorded_path)
    monkeypatch.setattr(loop, "flow_matching_loss", recorded_loss)
    training_step(state, pairs, randomness)
    assert model.inside == [inside]
    assert model.calls[0][0].dtype == torch.float32
    assert set(interpolated) == {torch.float32}
    assert losses == [inside, torch.float32, False, torch.float32]
    assert {weight.dtype for weight in state.weights} == {torch.float32}


def test_condition_dropout_only_changes_what_the_model_sees(points: TensorData) -> None:
    model = Recorder()
    state, pairs, randomness = start(components(points, model, condition_dropout=0.5, batch_size=25))
    for step in range(12):
        real = pairs.micro_batch(step)[2]
        training_step(state, pairs, randomness)
        seen = model.calls[step][2]
        assert seen is not None
        assert real is not None
        assert torch.all((seen == real) | (seen == points.condition.size))
    dropped = torch.cat([cond == 3 for _, _, cond in model.calls if cond is not None])
    assert 0.37 < dropped.float().mean() < 0.63  # 4.5 standard errors of 300 coins


def test_condition_dropout_of_embeddings_and_of_nothing() -> None:
    randomness = Randomness(0)
    embeddings = torch.ones(200, 3)
    condition, mask = Condition("embeddings", 3), dropped_rows(200, 0.4, 0, randomness)
    dropped = drop_conditions(embeddings, condition, mask)
    assert dropped is not None
    rows = dropped.sum(1)
    assert set(rows.tolist()) == {0.0, 3.0}
    assert dropped_rows(200, 0.0, 0, randomness) is None
    assert drop_conditions(embeddings, condition, None) is embeddings
    assert drop_conditions(None, Condition(), mask) is None
    everything = drop_conditions(embeddings, condition, dropped_rows(200, 1.0, 0, randomness))
    assert torch.equal(everything, torch.zeros(200, 3))  # type: ignore[arg-type]


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
    state, pairs, randomness = start(components(data, model, channels_last=True))
    training_step(state, pairs, randomness)
    assert model.seen
    assert model.layer.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_bad_loss_stops_before_the_weights_change(points: TensorData) -> None:
    state, pairs, randomness = start(components(points))
    training_step(state, pairs, randomness)
    before = [weight.detach().clone() for weight in state.weights]
    points.x[:] = math.inf
    with pytest.raises(
        TrainingDiverged, match=r"at step 2: loss (nan|inf), lr 0\.0005, largest .* (inf|nan)"
    ):
        training_step(state, pairs, randomness)
    assert all(torch.equal(a, b) for a, b in zip(before, state.weights, strict=True))
    assert state.step == 1


def test_a_bad_gradient_under_a_good_loss_stops_too(points: TensorData) -> None:
    class Sharp(SmallNet):
        def forward(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
            v = super().forward(x, t, cond)
            return v + (v * 0).abs().sqrt()  # finite, with a gradient of 0 * inf

    state, pairs, randomness = start(components(points, Sharp()))
    with pytest.raises(TrainingDiverged, match=r"at step 1: loss [0-9.]+, "):
        training_step(state, pairs, randomness)


@pytest.mark.parametrize(
    ("step", "every", "due"), [(10, 5, True), (11, 5, False), (10, 0, False), (1, 1, True)]
)
def test_is_due(step: int, every: int, due: bool) -> None:
    assert is_due(step, every) is due


def test_the_callers_random_state_decides_nothing(points: TensorData) -> None:
    weights = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state, pairs, randomness = start(components(points, small_net(dropout=0.5)))
        for _ in range(3):
            training_step(state, pairs, randomness)
        weights.append(torch.cat([weight.detach().flatten() for weight in state.weights]))
    assert torch.equal(*weights)
