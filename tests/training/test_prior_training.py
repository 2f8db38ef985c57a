"""A part of the prior is trained with the flow: its steps, its average, its files, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from flowprior.data import TensorData
from flowprior.errors import CouplingError, OptionError
from flowprior.flow import Flow
from flowprior.priors import Prior, TrainedPrior
from flowprior.training import TrainingInterrupted, read_metrics, train
from flowprior.training import compiled as compiling
from flowprior.training.batches import PairStream
from flowprior.training.components import Components
from flowprior.training.engine import Engine
from flowprior.training.loop import training_step
from flowprior.training.prior_training import PriorTraining
from flowprior.training.randomness import Randomness
from flowprior.training.state import TrainingState
from flowprior.training.validation import Validation

from .conftest import SHORT, components, small_net

SHIFTED: dict[str, Any] = {"prior": "shifted:scale=true,align=0.1", "coupling": "condot"}


def run_on(data: Any, out: Path | None = None, **options: Any) -> Flow:
    parts: dict[str, Any] = {**SHIFTED, "model": small_net()}
    return train(data, out=out, **{**parts, **SHORT, "prediction": "velocity", **options})


def start(points: TensorData, prior: str = "shifted", **options: Any) -> tuple[TrainingState, PairStream]:
    built = components(points, **options)
    fitted = Prior.registry.resolve(prior).fit(points.batches())
    parts = Components(**{**vars(built), "prior": fitted})
    state = TrainingState(parts)
    state.train_prior()
    pairs = PairStream(parts.data, fitted, parts.coupling, 8, Randomness(0))
    return state, pairs


def trained(prior: Prior) -> list[Tensor]:
    assert isinstance(prior, TrainedPrior)
    assert prior.trained is not None
    return [weight.detach().clone() for weight in prior.trained.parameters()]


def assert_equal(one: Flow, other: Flow) -> None:
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


# -- a step -------------------------------------------------------------------------------------


def test_a_step_is_adamw_on_the_loss_of_moved_pairs(points: TensorData) -> None:
    """The gradient goes through x_t and u_t alike; the network's own step is that of moved pairs, too."""
    state, pairs = start(points, "shifted:rate=2,align=0.5", clip=0.0, warmup=0)
    prior = state.parts.prior
    assert isinstance(prior, TrainedPrior)
    x0, x1, cond = pairs.batch(0)
    assert isinstance(cond, Tensor)
    t = torch.rand(8, generator=Randomness(0).generator("time", 0))
    shift = torch.zeros(3, 2, requires_grad=True)
    source = x0 + shift[cond]
    v = small_net()((1 - t)[:, None] * source + t[:, None] * x1, t, cond)
    loss = (v - (x1 - source)).square().mean()
    loss.backward()
    assert prior.trained is not None
    (gradient,) = torch.autograd.grad(prior.loss(x1, cond), list(prior.trained.parameters()))
    expected = shift.detach().clone()
    optimizer = torch.optim.AdamW([expected], lr=2e-3, betas=(0.9, 0.99), weight_decay=0.0)
    assert shift.grad is not None
    expected.grad = shift.grad + gradient
    optimizer.step()
    result = training_step(state, pairs, Randomness(0))
    torch.testing.assert_close(trained(prior)[0], expected)
    assert result.loss.item() == pytest.approx(loss.item())
    assert float(expected.abs().max()) == pytest.approx(2e-3, rel=1e-3)


def test_the_bound_of_the_gradient_is_its_own(points: TensorData) -> None:
    norms = []
    for clip in (1e-3, 0.0):
        state, pairs = start(points, clip=clip)
        assert state.prior_training is not None
        seen: list[float] = []
        weight = next(state.prior_training.module.parameters())
        state.prior_training.optimizer.register_step_pre_hook(
            lambda *_, w=weight, kept=seen: kept.append(float(cast("Tensor", w.grad).norm()))
        )
        training_step(state, pairs, Randomness(0))
        norms.append(seen[0])
    assert norms[0] == pytest.approx(1e-3, rel=1e-3)
    assert norms[1] > 0.01


@pytest.mark.slow
def test_a_displaced_source_moves_to_the_data() -> None:
    """Two classes far from N(0, I): the means go most of the way, each to its own."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 2
    means = torch.tensor([[4.0, 0.0], [-2.0, 3.0]])
    data = TensorData(means[labels] + 0.5 * torch.randn(400, 2, generator=generator), labels, classes=2)
    options = {"steps": 200, "batch_size": 64, "lr": 3e-3, "warmup": 10, "ema": 0.9}
    flow = run_on(data, prior="shifted:rate=30", model="mlp:width=16,depth=1", **options)
    found = flow.prior.mean(torch.arange(2))
    assert float((found - means).norm(dim=1).max()) < 0.6 * float(means.norm(dim=1).min())
    assert float(torch.nn.functional.cosine_similarity(found, means).min()) > 0.9


@pytest.mark.slow
def test_the_scale_shrinks_as_far_as_it_is_let(points: TensorData) -> None:
    """The loss alone makes the source small; its weight holds it."""
    scales = []
    for variance in (0.0, 30.0):
        prior = f"shifted:scale=true,variance={variance},rate=30"
        flow = run_on(points, prior=prior, steps=150, lr=3e-3, ema=0.9)
        assert isinstance(flow.prior, TrainedPrior)
        scales.append(flow.prior.measures()["prior_scale"])
    assert scales[0] < 0.65
    assert scales[1] > 0.9


# -- nothing else changes -------------------------------------------------------------------------


def test_a_shift_that_stands_still_trains_the_network_of_the_prior_alone(points: TensorData) -> None:
    for inner, coupling in (("gaussian", "condot"), ("gmm:components=2", "ot:ot_batch=32")):
        alone = run_on(points, prior=inner, coupling=coupling)
        still = run_on(points, prior=f"shifted:prior={inner},rate=0", coupling=coupling)
        for name, value in alone.model.state_dict().items():  # pyright: ignore
            assert torch.equal(value, still.model.state_dict()[name]), name  # pyright: ignore


def test_other_priors_have_nothing_to_train(points: TensorData) -> None:
    state, pairs = start(points, "gaussian")
    training_step(state, pairs, Randomness(0))
    assert state.prior_training is None
    assert state.averaged_prior is state.parts.prior
    assert state.flow().prior is state.parts.prior


@pytest.mark.slow
def test_pairs_are_the_same_ahead_of_time_and_in_line(points: TensorData) -> None:
    """Also those of a superbatch, which is drawn four steps before its last one is used."""
    for coupling in ("condot", "ot:ot_batch=32"):
        inline, ahead = run_on(points, coupling=coupling), run_on(points, coupling=coupling, prefetch=3)
        assert_equal(inline, ahead)


def test_micro_batches_add_up(points: TensorData) -> None:
    options = {"pair_within": "batch", "clip": 0.0}
    one, parts = run_on(points, **options), run_on(points, accumulate=2, **options)
    for mine, theirs in zip(trained(one.prior), trained(parts.prior), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


# -- the average, files, resuming -----------------------------------------------------------------


def test_the_flow_has_the_average_of_the_prior(points: TensorData) -> None:
    state, pairs = start(points, ema=0.5)
    seen: list[Tensor] = []
    for _ in range(3):
        training_step(state, pairs, Randomness(0))
        seen.append(trained(state.parts.prior)[0])
    expected = seen[0]
    for updates, raw in enumerate(seen[1:], start=1):
        expected = torch.lerp(expected, raw, 1 - min(0.5, (1 + updates) / (10 + updates)))
    flow = state.flow()
    torch.testing.assert_close(trained(flow.prior)[0], expected)
    assert torch.equal(trained(state.parts.prior)[0], seen[-1])
    assert isinstance(flow.prior, TrainedPrior)
    assert isinstance(state.parts.prior, TrainedPrior)
    assert flow.prior.fixed is state.parts.prior.fixed
    labels = torch.arange(3)
    torch.testing.assert_close(flow.prior.mean(labels), expected)


def test_held_out_events_see_the_average_and_leave_the_rest_alone(points: TensorData) -> None:
    state, pairs = start(points, ema=0.9)
    for _ in range(4):
        training_step(state, pairs, Randomness(0))
    raw = trained(state.parts.prior)[0]
    measured = Validation(points, Randomness(0)).measure(state)
    assert torch.equal(trained(state.parts.prior)[0], raw)
    assert state.prior_training is not None
    state.prior_training._take(state.prior_training.ema.module.parameters())
    assert Validation(points, Randomness(0)).measure(state) == measured
    state.prior_training._take([raw + 1])
    state.prior_training.ema.module.load_state_dict({"weight": raw + 1})
    assert Validation(points, Randomness(0)).measure(state) != measured


@pytest.mark.slow
@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"coupling": "ot:ot_batch=32", "prior": "shifted:prior=gmm:components=2"},
        {"prior": "shifted:prior=latent-gmm:rank=1,scale=true", "coupling": "posterior"},
        {
            "prior": "shifted:prior=latent-gmm:rank=1,shift=false,scale=true",
            "coupling": "posterior",
            "prediction": "residual",
        },
    ],
    ids=["gaussian", "ot", "latents", "moments"],
)
def test_a_run_in_pieces_is_the_run_in_one(points: TensorData, tmp_path: Path, parts: dict[str, Any]) -> None:
    options = {**parts, "condition_dropout": 0.3}
    whole = run_on(points, tmp_path / "whole", **options)
    for _ in range(2):
        with pytest.raises(TrainingInterrupted):
            run_on(points, tmp_path / "run", resume=True, max_minutes=1e-9, **options)
    pieces = run_on(points, tmp_path / "run", resume=True, **options)
    assert_equal(whole, pieces)
    labels = torch.arange(3)
    assert torch.equal(whole.prior.mean(labels), pieces.prior.mean(labels))


def test_what_is_saved_is_what_is_in_memory(points: TensorData, tmp_path: Path) -> None:
    flow = run_on(points, tmp_path / "run")
    loaded = Flow.load(tmp_path / "run", model=small_net())
    assert_equal(flow, loaded)
    labels = torch.arange(3)
    samples = [f.sample(labels, nfe=4, generator=torch.Generator().manual_seed(0)) for f in (flow, loaded)]
    assert torch.equal(*samples)
    logs = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if line["kind"] == "train"]
    assert logs[-1]["prior_shift"] > logs[0]["prior_shift"] > 0
    assert logs[-1]["prior_scale"] != 1


def test_several_processes_average_its_gradients(points: TensorData) -> None:
    state, _ = start(points)

    class Two(Engine):
        size = 2

        def mean(self, value: Tensor) -> Tensor:
            return value + 1

    assert isinstance(state.parts.prior, TrainedPrior)
    training = PriorTraining(state.parts.prior, state.config, Two())
    weight = next(training.module.parameters())
    weight.grad = torch.zeros_like(weight)
    before = weight.detach().clone()
    training.step()
    assert (weight < before).all()
    assert math.isclose((before[0, 0] - weight[0, 0]).item(), 10 * 1e-3 / 4, rel_tol=1e-3)


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("coupling", ["independent", "ot:condition=ignore", "semidiscrete:passes=4"])
@pytest.mark.filterwarnings("ignore:coupling 'semidiscrete'")
def test_pairs_across_conditions_are_refused(points: TensorData, coupling: str, tmp_path: Path) -> None:
    name = coupling.partition(":")[0]
    with pytest.raises(CouplingError, match=rf"under the condition of its datum, got '{name}'; use condot"):
        run_on(points, tmp_path / "run", coupling=coupling)
    assert not (tmp_path / "run").exists()


def test_embeddings_need_pairs_of_equal_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    data = TensorData(torch.randn(40, 2, generator=generator), torch.randn(40, 3, generator=generator))
    model = "mlp:width=8,depth=1"
    with pytest.raises(CouplingError, match="got 'ot'"):
        run_on(data, coupling="ot", model=model)
    flow = run_on(data, coupling="ot:condition=within", model=model, prior="shifted:hidden=8,depth=1")
    assert isinstance(flow.prior, TrainedPrior)
    assert flow.prior.measures()["prior_shift"] > 0


@pytest.mark.slow
def test_one_graph_of_a_step_serves_the_velocity_alone(
    points: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    plain, graph = (run_on(points, compile=what, model="mlp:width=8,depth=1") for what in ("none", "step"))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(graph.state_dict()[name], value, rtol=1e-5, atol=1e-6, msg=name)
    prior = "shifted:prior=latent-gmm:rank=1,shift=false,scale=true"
    latents: dict[str, Any] = {"prior": prior, "coupling": "posterior"}
    with pytest.raises(OptionError, match=r"^training.compile=step: a prior that is trained .*compile=model"):
        run_on(points, compile="step", **{**latents, "prediction": "residual"})


@pytest.mark.slow
def test_a_prediction_that_takes_a_shift_off_trains_a_scale_alone(points: TensorData) -> None:
    latents: dict[str, Any] = {"coupling": "posterior", "prediction": "residual"}
    with pytest.raises(
        OptionError, match=r"'residual' takes the moments of the pairs off.*shift=false,scale"
    ):
        run_on(points, prior="shifted:prior=latent-gmm:rank=1", **latents)
    flow = run_on(points, prior="shifted:prior=latent-gmm:rank=1,shift=false,scale=true", **latents)
    assert isinstance(flow.prior, TrainedPrior)
    assert flow.prior.measures().keys() == {"prior_scale"}
    assert flow.prior.measures()["prior_scale"] != 1
